#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace finetuned::gateway {

/// The body of POST /v1/chat/completions or /v1/completions, checked for itself: whether its model exists, and whether
/// the prompt fits into it, is not known yet.
struct GenerationRequest {
  std::string model;
  bool chat = false;
  base::json::array messages;                           ///< of a chat: role, content (text) and what else templates read
  std::vector<std::string> prompts;                     ///< otherwise these,
  std::vector<std::vector<std::int32_t>> prompt_ids;    ///< or these
  int n = 1;
  std::optional<std::int64_t> max_tokens;  ///< nullopt: as many as the context takes
  double temperature = 1;
  double top_p = 1;  ///< above 0
  std::optional<std::uint64_t> seed;
  std::vector<std::string> stop;
  std::optional<int> logprobs;  ///< alternatives told with each token
  bool echo = false;
  bool stream = false;
  bool include_usage = false;
};

/// What it may come to before a model has counted it: four bytes of a prompt a token, and all tokens that it allows and a
/// worker makes; where it sets no bound, 16 a choice.
std::int64_t likely_tokens(const GenerationRequest& request);

struct TokenBounds {
  std::int64_t input = 0;   ///< of all prompts, each counted once
  std::int64_t output = 0;  ///< of all choices
};
/// What no answer of a model of that context goes beyond. A text's tokens are at most three times its bytes, which is what normalization
/// makes of them at worst, and what a tokenizer puts around them; a chat's, of all that templates read, with what a template adds to a
/// conversation and to each message.
TokenBounds most_tokens(const GenerationRequest& request, std::int64_t context);

/// Read strictly where a value matters, as OpenAI does: throws ApiError 400 `invalid_value`, `missing_required_parameter`
/// or, for what OpenAI has and this platform cannot honour, `unsupported_parameter`; `param` names the field. Keys that
/// change nothing about the answer (`user`, `metadata`, `store`, ...) are ignored.
GenerationRequest parse_chat_request(std::string_view body);
GenerationRequest parse_text_request(std::string_view body);

}  // namespace finetuned::gateway
