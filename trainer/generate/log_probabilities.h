#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace finetuned::generate {

struct LogProbability {
  std::int32_t id = 0;
  double value = 0;
};

struct LogProbabilities {
  double chosen = 0;
  std::vector<LogProbability> top;  ///< best first, the lower id first among equals
};

/// The log-softmax of one position's finite logits, natural logarithm, summed in double: the value of `chosen` and the
/// `top` likeliest (fewer where the vocabulary is smaller). It is the model's own distribution, before temperature and
/// top_p, as OpenAI reports it.
template <class Real>
LogProbabilities log_probabilities(std::span<const Real> logits, std::int32_t chosen, std::size_t top);

}  // namespace finetuned::generate
