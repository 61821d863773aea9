#pragma once

#include <cstddef>

#include "services/gateway/graders/words.h"

namespace finetuned::graders {

inline constexpr std::size_t kMostMeteorWords = 2048;

/// Words of the input mapped one to one onto equal words of the reference.
struct Alignment {
  std::size_t matches = 0;  ///< the most that there can be
  std::size_t crosses = 0;  ///< pairs of mappings whose lines cross
  std::size_t chunks = 0;   ///< fewest runs of matches that are adjacent and in the same order in both
};

/// Among the alignments with the most matches that with the fewest crosses, then the fewest chunks, as Banerjee & Lavie
/// (2005) choose it. Where words repeat it is searched word by word among the 32 best beginnings: exact for sentences, near
/// the best for long texts of few words. Both sides have at most kMostMeteorWords.
Alignment align(const NumberedWords& words);

/// METEOR by Banerjee & Lavie, "METEOR: An Automatic Metric for MT Evaluation with Improved Correlation with Human
/// Judgments" (2005), with its exact stage alone: neither stems nor synonyms are matched. With m matches,
///   P = m / input's words, R = m / reference's, F = 10 P R / (R + 9 P), penalty = 0.5 (chunks / m)^3,
/// and the score is F (1 - penalty): 0 without a match. One of equal texts of n words is 1 - 0.5 / n^3, never quite 1.
double meteor(const NumberedWords& words);

}  // namespace finetuned::graders
