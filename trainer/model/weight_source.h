#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "trainer/formats/hf_config.h"
#include "trainer/formats/safetensors.h"

namespace finetuned::model {

/// Gives the values of a tensor of formats::expected_tensors(config), by its Hugging Face name, converted to
/// float.
using WeightSource = std::function<void(const std::string& name, std::span<float> out)>;

/// From files. `weights` must outlive the source, and has passed formats::check_weights. Throws FormatError
/// where a tensor is missing or has another size.
WeightSource stored_weights(const formats::Weights& weights);

/// First values of a model trained from nothing: norms 1, biases 0, all else normal of mean 0 and deviation
/// `deviation` (that of o_proj and down_proj divided by sqrt(2 layers), as in GPT-2), from a counter keyed by
/// (seed, name). The same bits on every machine of one build.
WeightSource fresh_weights(const formats::ModelConfig& config, std::uint64_t seed, double deviation = 0.02);

}  // namespace finetuned::model
