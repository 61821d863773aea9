#include "services/gateway/graders/meteor.h"

#include <gtest/gtest.h>

#include <random>
#include <tuple>

namespace finetuned::graders {
namespace {

NumberedWords numbered(std::string_view input, std::string_view reference) {
  return number_words(input, reference, WordRule::kFolded);
}

std::size_t crosses_of(const std::vector<std::pair<std::size_t, std::size_t>>& links) {
  std::size_t crosses = 0;
  for (std::size_t i = 0; i < links.size(); ++i)
    for (std::size_t j = i + 1; j < links.size(); ++j) crosses += links[i].second > links[j].second;
  return crosses;
}

std::size_t chunks_of(const std::vector<std::pair<std::size_t, std::size_t>>& links) {
  std::size_t chunks = 0;
  for (std::size_t i = 0; i < links.size(); ++i)
    chunks += i == 0 || links[i - 1].first + 1 != links[i].first || links[i - 1].second + 1 != links[i].second;
  return chunks;
}

/// The definition: every way to map the words, one after the other.
class Exhaustive {
 public:
  explicit Exhaustive(const NumberedWords& words) : words_(words), used_(words.reference.size()) { from(0); }
  Alignment best;

 private:
  void from(std::size_t at) {
    if (at == words_.input.size()) {
      const Alignment found{links_.size(), crosses_of(links_), chunks_of(links_)};
      const bool better = found.matches > best.matches ||
                          (found.matches == best.matches &&
                           (first_ || std::tie(found.crosses, found.chunks) < std::tie(best.crosses, best.chunks)));
      if (better) best = found;
      first_ = false;
      return;
    }
    from(at + 1);
    for (std::size_t i = 0; i < used_.size(); ++i) {
      if (used_[i] || words_.reference[i] != words_.input[at]) continue;
      used_[i] = true;
      links_.emplace_back(at, i);
      from(at + 1);
      links_.pop_back();
      used_[i] = false;
    }
  }
  const NumberedWords& words_;
  std::vector<bool> used_;
  std::vector<std::pair<std::size_t, std::size_t>> links_;
  bool first_ = true;
};

TEST(Meteor, IsThePapersOwnExample) {
  const auto words = numbered("the president spoke to the audience", "the president then spoke to the audience");
  const Alignment alignment = align(words);
  EXPECT_EQ(alignment.matches, 6u);
  EXPECT_EQ(alignment.crosses, 0u);
  EXPECT_EQ(alignment.chunks, 2u);
  EXPECT_DOUBLE_EQ(meteor(words), 60.0 / 69 * 53 / 54);  // P = 1, R = 6/7, penalty 0.5 (2/6)^3
}

TEST(Meteor, CountsCrossesAndChunks) {
  const Alignment turned = align(numbered("b a", "a b"));
  EXPECT_EQ(turned.matches, 2u);
  EXPECT_EQ(turned.crosses, 1u);
  EXPECT_EQ(turned.chunks, 2u);
  EXPECT_DOUBLE_EQ(meteor(numbered("b a", "a b")), 0.5);
  EXPECT_DOUBLE_EQ(meteor(numbered("one two three", "one two three")), 1 - 0.5 / 27);
  EXPECT_DOUBLE_EQ(meteor(numbered("One, two; THREE!", "one two three")), 1 - 0.5 / 27);
  EXPECT_EQ(meteor(numbered("walks", "walk")), 0) << "no stems";
  EXPECT_EQ(meteor(numbered("", "walk")), 0);
  EXPECT_EQ(meteor(numbered("walk", "")), 0);
  EXPECT_EQ(meteor(numbered("", "")), 0);
}

TEST(Meteor, AlignsShortTextsAsEveryAlignmentTriedOut) {
  std::mt19937 random(7);
  for (int round = 0; round < 400; ++round) {
    NumberedWords words;
    const unsigned different = 1 + random() % 4;
    for (auto* side : {&words.input, &words.reference}) {
      side->resize(random() % 7);
      for (auto& word : *side) word = random() % different;
    }
    // numbers without a gap, as number_words gives them
    std::string texts[2];
    for (const auto word : words.input) texts[0] += std::string(1, static_cast<char>('a' + word)) + " ";
    for (const auto word : words.reference) texts[1] += std::string(1, static_cast<char>('a' + word)) + " ";
    const NumberedWords dense = numbered(texts[0], texts[1]);
    const Alignment found = align(dense), best = Exhaustive(dense).best;
    EXPECT_EQ(std::tie(found.matches, found.crosses, found.chunks), std::tie(best.matches, best.crosses, best.chunks))
        << texts[0] << "| " << texts[1];
  }
}

TEST(Meteor, TakesTheLongestTextsOfOneWordAndOfTwo) {
  NumberedWords one{std::vector<std::uint32_t>(kMostMeteorWords), std::vector<std::uint32_t>(kMostMeteorWords)};
  const Alignment same = align(one);
  EXPECT_EQ(same.matches, kMostMeteorWords);
  EXPECT_EQ(same.crosses, 0u);
  EXPECT_EQ(same.chunks, 1u);
  for (std::size_t i = 0; i < kMostMeteorWords; ++i) {
    one.input[i] = i % 2;
    one.reference[i] = i < kMostMeteorWords / 2;
  }
  EXPECT_EQ(align(one).matches, kMostMeteorWords);
}

}  // namespace
}  // namespace finetuned::graders
