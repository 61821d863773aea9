#include "services/gateway/graders/ngrams.h"

#include <algorithm>
#include <map>
#include <utility>

namespace finetuned::graders {

namespace {

using Numbers = std::vector<std::uint32_t>;

/// Each text's n-grams from its (n-1)-grams and its words, numbered alike in both texts.
void lengthen(Numbers& shorter, const Numbers& words, std::size_t order,
              std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t>& numbers) {
  const std::size_t count = words.size() + 1 > order ? words.size() + 1 - order : 0;
  for (std::size_t i = 0; i < count; ++i)
    shorter[i] = numbers.emplace(std::pair(shorter[i], words[i + order - 1]), static_cast<std::uint32_t>(numbers.size()))
                     .first->second;
  shorter.resize(count);
}

NgramMatches match(const Numbers& input, const Numbers& reference) {
  std::map<std::uint32_t, std::size_t> left;
  for (const std::uint32_t ngram : reference) ++left[ngram];
  NgramMatches matches{input.size(), reference.size(), 0};
  for (const std::uint32_t ngram : input) {
    const auto found = left.find(ngram);
    if (found == left.end() || found->second == 0) continue;
    --found->second;
    ++matches.shared;
  }
  return matches;
}

}  // namespace

std::array<NgramMatches, kMostOrder> count_ngrams(const NumberedWords& words) {
  std::array<NgramMatches, kMostOrder> all;
  Numbers input = words.input, reference = words.reference;
  all[0] = match(input, reference);
  for (std::size_t order = 2; order <= kMostOrder; ++order) {
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> numbers;
    lengthen(input, words.input, order, numbers);
    lengthen(reference, words.reference, order, numbers);
    all[order - 1] = match(input, reference);
  }
  return all;
}

}  // namespace finetuned::graders
