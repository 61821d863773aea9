#pragma once

#include <cstdint>
#include <string>

#include "services/inference/call.h"
#include "trainer/formats/hf_config.h"
#include "trainer/text/supervised.h"

namespace finetuned::inference {

/// Sets the call's prompts: messages rendered by the base's chat template up to where the assistant goes on, texts as
/// `finetuned generate` encodes them, ids as they are. Throws ApiError 400 for what the template or the vocabulary refuses.
void encode_prompts(Call& call, const text::RowEncoder& encoder, const formats::ModelConfig& config);

/// Throws ApiError 400 `context_length_exceeded` where a prompt, and the tokens that are asked for, are more than `context`.
void check_context(const Call& call, std::int64_t context);

}  // namespace finetuned::inference
