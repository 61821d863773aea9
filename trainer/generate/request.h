#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "trainer/generate/sampling.h"

namespace finetuned::generate {

struct Request {
  std::int64_t max_tokens = 256;  ///< new tokens at most
  Sampling sampling;
  std::vector<std::int32_t>
      stop_ids;           ///< a chosen one ends the answer and is not part of it: the model's eos
  bool use_cache = true;  ///< false: everything is computed anew for each token; the same bits, for proof
  /// How many alternatives come with each token's log-probability (log_probabilities.h); absent: neither is worked out.
  std::optional<std::size_t> log_probabilities = std::nullopt;
};

enum class Finish { kStop, kLength };  ///< a stop id, or max_tokens or the context's end

/// New tokens that a prompt of `prompt_tokens` <= context has room for.
std::size_t room_of(std::size_t prompt_tokens, const Request& request, std::int64_t context);

}  // namespace finetuned::generate
