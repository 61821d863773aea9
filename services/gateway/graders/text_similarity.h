#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace finetuned::graders {

inline constexpr std::size_t kMostComparedBytes = 32 << 10;  ///< of each text

/// OpenAI's metrics but `cosine`, which needs a model of embeddings.
enum class Metric : std::uint8_t { kFuzzyMatch, kBleu, kGleu, kMeteor, kRouge1, kRouge2, kRouge3, kRouge4, kRouge5, kRougeL };

/// 0 to 1; more is nearer. Words are those of words.h. A metric of words is 0 where either text has none (or, of ROUGE-N, no
/// n-gram). Throws GradingFailure (kOther) on a text of more than kMostComparedBytes or, for METEOR, kMostMeteorWords.
double text_similarity(Metric metric, std::string_view input, std::string_view reference);

/// The normalised InDel similarity, `ratio` of rapidfuzz: 1 - d / (|a| + |b|), where d is the fewest insertions and deletions of
/// code points that turn a into b; so 2 LCS(a, b) / (|a| + |b|). 1 for two empty texts.
double fuzzy_match(std::string_view input, std::string_view reference);

/// BLEU-4 of one sentence: Papineni, Roukos, Ward & Zhu, "BLEU: a Method for Automatic Evaluation of Machine Translation"
/// (2002), BP exp(sum of log p_n / 4) with clipped precisions p_n and BP = exp(1 - r / c) where the input's c words are fewer
/// than the reference's r. Smoothed as Lin & Och, "ORANGE" (2004) do for sentences: 1 is added to the matches and to the count of
/// n-grams for n > 1. Case and symbols count.
double bleu(std::string_view input, std::string_view reference);

/// GLEU: Wu et al., "Google's Neural Machine Translation System" (2016), section 5.2: of all n-grams of 1 to 4 words the smaller of
/// precision and recall. Case and symbols count.
double gleu(std::string_view input, std::string_view reference);

/// ROUGE-N: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004), section 2, as F1 of the n-grams' clipped
/// precision and recall. `order` is 1 to 5. Without case, stems or stop words.
double rouge_n(std::size_t order, std::string_view input, std::string_view reference);

/// ROUGE-L: the same paper, section 3.1, as F1 (beta = 1): precision and recall of the longest common subsequence of words.
double rouge_l(std::string_view input, std::string_view reference);

}  // namespace finetuned::graders
