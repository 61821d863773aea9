#pragma once

#include <array>
#include <cstddef>

#include "services/gateway/graders/words.h"

namespace finetuned::graders {

inline constexpr std::size_t kMostOrder = 5;

/// Of one order n: how many n-grams each text has, and how many they share, each counted as often as the text with fewer
/// has it ("clipped").
struct NgramMatches {
  std::size_t input = 0;
  std::size_t reference = 0;
  std::size_t shared = 0;
};

/// Of the orders 1 to kMostOrder; order n stands at n - 1.
std::array<NgramMatches, kMostOrder> count_ngrams(const NumberedWords& words);

}  // namespace finetuned::graders
