#include "services/gateway/graders/text_similarity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "services/gateway/graders/failure.h"

namespace finetuned::graders {
namespace {

constexpr Metric kAll[] = {Metric::kFuzzyMatch, Metric::kBleu, Metric::kGleu, Metric::kMeteor, Metric::kRouge1,
                           Metric::kRouge2, Metric::kRouge3, Metric::kRouge4, Metric::kRouge5, Metric::kRougeL};

TEST(FuzzyMatch, IsTheInDelRatioOverCodePoints) {
  EXPECT_DOUBLE_EQ(fuzzy_match("kitten", "sitting"), 8.0 / 13);  // common: ittn
  EXPECT_DOUBLE_EQ(fuzzy_match("this is a test", "this is a test!"), 28.0 / 29);
  EXPECT_DOUBLE_EQ(fuzzy_match("naïve", "naive"), 0.8);
  EXPECT_DOUBLE_EQ(fuzzy_match("日本語", "日本"), 0.8);
  EXPECT_DOUBLE_EQ(fuzzy_match("🙂🙃", "🙂"), 2.0 / 3);
  EXPECT_EQ(fuzzy_match("abc", "ABC"), 0);
  EXPECT_EQ(fuzzy_match("", ""), 1);
  EXPECT_EQ(fuzzy_match("", "a"), 0);
}

TEST(Bleu, IsPapinenisWithLinAndOchsSmoothing) {
  // 5/5, (3+1)/(4+1), (2+1)/(3+1), (1+1)/(2+1); five words for six
  EXPECT_DOUBLE_EQ(bleu("the cat sat on mat", "the cat sat on the mat"), std::exp(-0.2) * std::pow(0.4, 0.25));
  // Papineni's clipped 2/7; then 1/7, 1/6, 1/5 by smoothing alone
  EXPECT_NEAR(bleu("the the the the the the the", "the cat is on the mat"), std::pow(2.0 / 7 / 7 / 6 / 5, 0.25), 1e-15);
  EXPECT_DOUBLE_EQ(bleu("the cat sat on the mat", "the cat sat on the mat"), 1);
  EXPECT_DOUBLE_EQ(bleu("cat", "cat"), 1);
  EXPECT_DOUBLE_EQ(bleu("cat", "cat sat"), std::exp(-1));
  EXPECT_EQ(bleu("dog", "cat"), 0);
  EXPECT_EQ(bleu("Cat", "cat"), 0) << "case counts";
  EXPECT_LT(bleu("a cat.", "a cat!"), 1) << "symbols count";
}

TEST(Gleu, IsTheSmallerOfPrecisionAndRecall) {
  EXPECT_DOUBLE_EQ(gleu("the cat sat on mat", "the cat sat on the mat"), 11.0 / 18);  // 5+3+2+1 of 14 and of 18
  EXPECT_DOUBLE_EQ(gleu("the cat sat on the mat", "the cat sat on mat"), 11.0 / 18);
  EXPECT_DOUBLE_EQ(gleu("a b", "a b"), 1);
  EXPECT_EQ(gleu("a", "b"), 0);
}

TEST(Rouge, IsLinsExampleAsF1) {
  const char* reference = "police killed the gunman";
  EXPECT_DOUBLE_EQ(rouge_l("police kill the gunman", reference), 0.75);
  EXPECT_DOUBLE_EQ(rouge_l("the gunman kill police", reference), 0.5);
  EXPECT_DOUBLE_EQ(rouge_n(1, "police kill the gunman", reference), 0.75);
  EXPECT_DOUBLE_EQ(rouge_n(2, "police kill the gunman", reference), 1.0 / 3);
  EXPECT_DOUBLE_EQ(rouge_n(2, "the gunman kill police", reference), 1.0 / 3);
  EXPECT_EQ(rouge_n(3, "police kill the gunman", reference), 0);
}

TEST(Rouge, WeighsPrecisionAndRecallAlikeForEveryOrder) {
  const char* input = "a b c d e x";           // 6, 5, 4, 3, 2 n-grams
  const char* reference = "A, b; c d! e f g";  // 7, 6, 5, 4, 3
  EXPECT_DOUBLE_EQ(rouge_n(1, input, reference), 10.0 / 13);
  EXPECT_DOUBLE_EQ(rouge_n(2, input, reference), 8.0 / 11);
  EXPECT_DOUBLE_EQ(rouge_n(3, input, reference), 6.0 / 9);
  EXPECT_DOUBLE_EQ(rouge_n(4, input, reference), 4.0 / 7);
  EXPECT_DOUBLE_EQ(rouge_n(5, input, reference), 2.0 / 5);
  EXPECT_DOUBLE_EQ(rouge_l(input, reference), 10.0 / 13);
  EXPECT_DOUBLE_EQ(rouge_n(1, "a a a b", "a b b"), 4.0 / 7) << "clipped";
}

TEST(TextSimilarity, DispatchesToEachMetric) {
  const char* input = "The cat sat on a mat.";
  const char* reference = "the cat sat, on the mat";
  EXPECT_EQ(text_similarity(Metric::kFuzzyMatch, input, reference), fuzzy_match(input, reference));
  EXPECT_EQ(text_similarity(Metric::kBleu, input, reference), bleu(input, reference));
  EXPECT_EQ(text_similarity(Metric::kGleu, input, reference), gleu(input, reference));
  EXPECT_EQ(text_similarity(Metric::kRougeL, input, reference), rouge_l(input, reference));
  for (std::size_t order = 1; order <= 5; ++order)
    EXPECT_EQ(text_similarity(kAll[3 + order], input, reference), rouge_n(order, input, reference));
  // the cat sat on [a] mat: 5 of 6 and of 6 in 2 chunks
  EXPECT_DOUBLE_EQ(text_similarity(Metric::kMeteor, input, reference), 5.0 / 6 * (1 - 0.5 * 8 / 125));
}

TEST(TextSimilarity, IsAlwaysAFiniteShare) {
  const std::string texts[] = {"", " ", "?!", "a", "a a", "the cat sat", "日本語のテスト", "\xF0\x9F\x99\x82", "e\xCC\x81", "\xFF\xFE",
                               "{\"a\": [1, 2]}"};
  for (const Metric metric : kAll)
    for (const std::string& input : texts)
      for (const std::string& reference : texts) {
        const double score = text_similarity(metric, input, reference);
        EXPECT_TRUE(score >= 0 && score <= 1 + 1e-12) << static_cast<int>(metric) << " '" << input << "' '" << reference << "': " << score;
      }
}

TEST(TextSimilarity, IsBoundInTheTextsSize) {
  const std::string most(kMostComparedBytes, 'a');
  for (const Metric metric : kAll) {
    EXPECT_NO_THROW(text_similarity(metric, most, most)) << static_cast<int>(metric);
    EXPECT_THROW(text_similarity(metric, most + "a", "a"), GradingFailure);
    EXPECT_THROW(text_similarity(metric, "a", most + "a"), GradingFailure);
  }
  std::string words;
  for (int i = 0; i < 2049; ++i) words += "w ";
  EXPECT_THROW(text_similarity(Metric::kMeteor, words, "w"), GradingFailure);
  EXPECT_NO_THROW(text_similarity(Metric::kRougeL, words, words));
}

}  // namespace
}  // namespace finetuned::graders
