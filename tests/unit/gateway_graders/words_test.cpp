#include "services/gateway/graders/words.h"

#include <gtest/gtest.h>

namespace finetuned::graders {
namespace {

using Words = std::vector<std::u32string>;

TEST(Words, AreRunsOfLettersMarksAndNumbers) {
  EXPECT_EQ(words_of("The cat's 2nd hat-trick.", WordRule::kFolded), (Words{U"the", U"cat", U"s", U"2nd", U"hat", U"trick"}));
  EXPECT_EQ(words_of("Straße ÉCOLE", WordRule::kFolded), (Words{U"strasse", U"école"}));
  EXPECT_EQ(words_of("e\xCC\x81t", WordRule::kFolded), (Words{U"e\u0301t"}));
  EXPECT_EQ(words_of(" \t\n\xE2\x80\x83", WordRule::kFolded), Words{});
  EXPECT_EQ(words_of("", WordRule::kFolded), Words{});
}

TEST(Words, KeepCaseAndSymbolsWhereTheseCount) {
  EXPECT_EQ(words_of("Well, no!?", WordRule::kWithSymbols), (Words{U"Well", U",", U"no", U"!", U"?"}));
  EXPECT_EQ(words_of("x🙂y", WordRule::kWithSymbols), (Words{U"x", U"🙂", U"y"}));
}

TEST(Words, OfScriptsWithoutBlanksAreCharacters) {
  EXPECT_EQ(words_of("日本語 です。ok", WordRule::kFolded), (Words{U"日", U"本", U"語", U"で", U"す", U"ok"}));
  EXPECT_EQ(words_of("a日b", WordRule::kFolded), (Words{U"a", U"日", U"b"}));
  EXPECT_EQ(words_of("한국어 말", WordRule::kFolded), (Words{U"한국어", U"말"}));
}

TEST(Words, BrokenUtf8IsReplacedByteByByte) {
  EXPECT_EQ(code_points("a\xFF\xC3"), U"a\uFFFD\uFFFD");
  EXPECT_EQ(code_points("\xED\xA0\x80").size(), 3u) << "a surrogate";
}

TEST(Words, AreNumberedAlikeInBothTexts) {
  const NumberedWords both = number_words("b a b", "a c", WordRule::kFolded);
  EXPECT_EQ(both.input, (std::vector<std::uint32_t>{0, 1, 0}));
  EXPECT_EQ(both.reference, (std::vector<std::uint32_t>{1, 2}));
}

}  // namespace
}  // namespace finetuned::graders
