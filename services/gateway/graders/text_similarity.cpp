#include "services/gateway/graders/text_similarity.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "services/gateway/graders/failure.h"
#include "services/gateway/graders/meteor.h"
#include "services/gateway/graders/ngrams.h"
#include "services/gateway/graders/sequences.h"
#include "services/gateway/graders/words.h"

namespace finetuned::graders {

namespace {

constexpr std::size_t kBleuOrder = 4;

double as_double(std::size_t count) { return static_cast<double>(count); }

/// 2 P R / (P + R) of `shared` among two totals, which is 2 shared / (a + b).
double f1(std::size_t shared, std::size_t a, std::size_t b) { return shared == 0 ? 0 : 2 * as_double(shared) / as_double(a + b); }

std::vector<std::uint32_t> symbols(std::string_view text) {
  const std::u32string points = code_points(text);
  return {points.begin(), points.end()};
}

double bounded_meteor(std::string_view input, std::string_view reference) {
  const NumberedWords words = number_words(input, reference, WordRule::kFolded);
  if (std::max(words.input.size(), words.reference.size()) > kMostMeteorWords)
    throw GradingFailure(FailureKind::kOther, "meteor compares at most " + std::to_string(kMostMeteorWords) + " words");
  return meteor(words);
}

}  // namespace

double fuzzy_match(std::string_view input, std::string_view reference) {
  const auto a = symbols(input), b = symbols(reference);
  return a.empty() && b.empty() ? 1 : f1(lcs_length(a, b), a.size(), b.size());
}

double bleu(std::string_view input, std::string_view reference) {
  const NumberedWords words = number_words(input, reference, WordRule::kWithSymbols);
  const auto matches = count_ngrams(words);
  if (matches[0].shared == 0) return 0;
  double logs = 0;
  for (std::size_t n = 0; n < kBleuOrder; ++n) {
    const std::size_t added = n == 0 ? 0 : 1;
    logs += std::log(as_double(matches[n].shared + added) / as_double(matches[n].input + added));
  }
  const double c = as_double(words.input.size()), r = as_double(words.reference.size());
  const double brevity = c < r ? std::exp(1 - r / c) : 1;
  return brevity * std::exp(logs / kBleuOrder);
}

double gleu(std::string_view input, std::string_view reference) {
  const auto matches = count_ngrams(number_words(input, reference, WordRule::kWithSymbols));
  NgramMatches all;
  for (std::size_t n = 0; n < kBleuOrder; ++n) {
    all.input += matches[n].input;
    all.reference += matches[n].reference;
    all.shared += matches[n].shared;
  }
  return all.shared == 0 ? 0 : as_double(all.shared) / as_double(std::max(all.input, all.reference));
}

double rouge_n(std::size_t order, std::string_view input, std::string_view reference) {
  const NgramMatches matches = count_ngrams(number_words(input, reference, WordRule::kFolded)).at(order - 1);
  return f1(matches.shared, matches.input, matches.reference);
}

double rouge_l(std::string_view input, std::string_view reference) {
  const NumberedWords words = number_words(input, reference, WordRule::kFolded);
  return f1(lcs_length(words.input, words.reference), words.input.size(), words.reference.size());
}

double text_similarity(Metric metric, std::string_view input, std::string_view reference) {
  if (std::max(input.size(), reference.size()) > kMostComparedBytes)
    throw GradingFailure(FailureKind::kOther, "text_similarity compares at most " + std::to_string(kMostComparedBytes) + " bytes");
  switch (metric) {
    case Metric::kFuzzyMatch: return fuzzy_match(input, reference);
    case Metric::kBleu: return bleu(input, reference);
    case Metric::kGleu: return gleu(input, reference);
    case Metric::kMeteor: return bounded_meteor(input, reference);
    case Metric::kRouge1: return rouge_n(1, input, reference);
    case Metric::kRouge2: return rouge_n(2, input, reference);
    case Metric::kRouge3: return rouge_n(3, input, reference);
    case Metric::kRouge4: return rouge_n(4, input, reference);
    case Metric::kRouge5: return rouge_n(5, input, reference);
    case Metric::kRougeL: return rouge_l(input, reference);
  }
  return 0;
}

}  // namespace finetuned::graders
