#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace finetuned::generate {

/// Chooses the next token from logits. Random numbers are functions of (seed, place), so an answer repeats
/// exactly.
struct Sampling {
  double temperature =
      0;             ///< 0: the greatest logit, the lowest id among equals; else logits are divided by it
  double top_p = 1;  ///< (0, 1]: only the likeliest tokens that together reach this probability
  std::uint64_t seed = 0;
};

/// Throws UsageError where a setting is out of its range.
void check_sampling(const Sampling& sampling);

/// `place`: how many tokens were chosen before. `order` is workspace, kept by the caller.
template <class Real>
std::int32_t choose_token(const Sampling& sampling, std::uint64_t place, std::span<const Real> logits,
                          std::vector<std::int32_t>& order);

}  // namespace finetuned::generate
