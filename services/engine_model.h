#pragma once

#include <cstdint>
#include <string>

#include "trainer/formats/hf_config.h"
#include "trainer/model/transformer.h"

namespace finetuned::services {

/// A model that answers, on the processor.
using Reader = model::Transformer<tensor::Cpu>;

/// Loads the base directory `base`, whose config is `config`, with the PEFT directory `adapter` on it where that is not
/// empty. Its tables reach to `positions` tokens, the base's context at most: what a sequence with its answer may hold; it
/// takes up to `sequences` (>= 1) of them together, fewer where memory is short. Throws FormatError (weights, adapter) and,
/// before anything is allocated, UsageError with the figures where the model and the cache of one such sequence do not fit
/// the machine.
Reader load_reader(tensor::Cpu& device, const std::string& base, const std::string& adapter,
                   const formats::ModelConfig& config, std::int64_t positions, std::int64_t sequences);

}  // namespace finetuned::services
