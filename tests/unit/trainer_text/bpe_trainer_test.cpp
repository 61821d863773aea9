#include "trainer/text/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "base/sha256.h"
#include "scratch_model.h"

namespace finetuned::text {
namespace {

std::string sample_text() {
  std::string text;
  for (int i = 0; i < 400; ++i)
    text += "Claim " + std::to_string(i * 7919 % 1000) +
            ": the water damage in the kitchen is covered, item " + std::to_string(i) + " — naïve.\n";
  return text;
}

TEST(BpeTrainer, MergesTheMostFrequentPairFirstAndTiesInByteOrder) {
  const auto merges = train_bpe_merges("abab abab cd cd", 10);
  ASSERT_EQ(merges.size(), 4u);
  EXPECT_EQ(merges[0], std::pair(std::string("a"), std::string("b")));
  EXPECT_EQ(merges[1], std::pair(std::string("Ġ"), std::string("c")));
  EXPECT_EQ(merges[2], std::pair(std::string("Ġc"), std::string("d")));
  EXPECT_EQ(merges[3], std::pair(std::string("ab"), std::string("ab")));
  EXPECT_TRUE(train_bpe_merges("", 10).empty());
  EXPECT_TRUE(train_bpe_merges("abcd", 10).empty());
}

TEST(BpeTrainer, CountsPairsOfRunsAsTheyAreMerged) {
  // In "aaaa" the pair (a, a) stands three times, and merging leaves "aa aa".
  const auto merges = train_bpe_merges("aaaa aaaa aaaa", 3);
  ASSERT_EQ(merges.size(), 3u);
  EXPECT_EQ(merges[0].first + merges[0].second, "aa");
  EXPECT_EQ(merges[1].first + merges[1].second, "aaaa");
  EXPECT_EQ(merges[2].first + merges[2].second, "Ġaaaa");
}

TEST(BpeTrainer, WritesTheSameFilesAgainAndTheyLoad) {
  ScratchModel first;
  ScratchModel second;
  BpeTrainerOptions options;
  options.vocabulary_size = 300;
  options.chat_template = "{{ messages[0].content }}";
  train_bpe_tokenizer(sample_text(), options, first.path());
  train_bpe_tokenizer(sample_text(), options, second.path());
  EXPECT_EQ(base::sha256_file(first.path() / "tokenizer.json"),
            base::sha256_file(second.path() / "tokenizer.json"));
  const Tokenizer tokenizer = first.load();
  EXPECT_EQ(tokenizer.fingerprint(), second.load().fingerprint());
  EXPECT_EQ(tokenizer.vocabulary_size(), 300);
  EXPECT_EQ(tokenizer.eos_text(), "<|im_end|>");
  EXPECT_EQ(tokenizer.eos_id(), 299);
  EXPECT_TRUE(tokenizer.is_special(*tokenizer.eos_id()));
  const std::string text = sample_text();
  const auto ids = tokenizer.encode(text);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_LT(ids.size(), text.size() / 2);
}

TEST(BpeTrainer, RefusesWhatCannotBe) {
  ScratchModel model;
  BpeTrainerOptions options;
  options.vocabulary_size = 200;
  EXPECT_THROW(train_bpe_tokenizer("a", options, model.path()), base::UsageError);
  options.vocabulary_size = 300;
  options.eos_token = "</s>";
  EXPECT_THROW(train_bpe_tokenizer("a", options, model.path()), base::UsageError);
  EXPECT_THROW(train_bpe_merges("\xFF", 3), base::UsageError);
}

}  // namespace
}  // namespace finetuned::text
