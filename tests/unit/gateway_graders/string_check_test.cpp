#include "services/gateway/graders/string_check.h"

#include <gtest/gtest.h>

#include <string>

namespace finetuned::graders {
namespace {

TEST(StringCheck, EqualMeansEveryByte) {
  EXPECT_EQ(string_check(StringOperation::kEq, "Yes", "Yes"), 1);
  EXPECT_EQ(string_check(StringOperation::kEq, "Yes", "yes"), 0);
  EXPECT_EQ(string_check(StringOperation::kEq, "Yes ", "Yes"), 0);
  EXPECT_EQ(string_check(StringOperation::kEq, "", ""), 1);
  EXPECT_EQ(string_check(StringOperation::kNe, "Yes", "Yes"), 0);
  EXPECT_EQ(string_check(StringOperation::kNe, "Yes", "yes"), 1);
}

TEST(StringCheck, LikeMeansThatTheInputContainsTheReference) {
  EXPECT_EQ(string_check(StringOperation::kLike, "The answer is 42.", "answer is 42"), 1);
  EXPECT_EQ(string_check(StringOperation::kLike, "The answer is 42.", "Answer"), 0);
  EXPECT_EQ(string_check(StringOperation::kLike, "42", "The answer is 42."), 0);
  EXPECT_EQ(string_check(StringOperation::kLike, "anything", ""), 1);
  EXPECT_EQ(string_check(StringOperation::kLike, "", "x"), 0);
  EXPECT_EQ(string_check(StringOperation::kLike, "", ""), 1);
  EXPECT_EQ(string_check(StringOperation::kLike, "abc", "a%c"), 0) << "no patterns";
  EXPECT_EQ(string_check(StringOperation::kLike, "a%c", "%"), 1);
}

TEST(StringCheck, IlikeFoldsCaseAsUnicodeDoes) {
  EXPECT_EQ(string_check(StringOperation::kIlike, "The ANSWER is 42.", "answer IS"), 1);
  EXPECT_EQ(string_check(StringOperation::kIlike, "STRASSE", "straße"), 1);
  EXPECT_EQ(string_check(StringOperation::kIlike, "ΣΊΣΥΦΟΣ", "σίσυφος"), 1);
  EXPECT_EQ(string_check(StringOperation::kIlike, "ÉCOLE", "école"), 1);
  EXPECT_EQ(string_check(StringOperation::kIlike, "ecole", "école"), 0);
}

TEST(StringCheck, PeriodicTextsTakeNoLonger) {
  const std::string text(250'000, 'a');
  const std::string part = std::string(125'000, 'a') + "b";
  EXPECT_EQ(string_check(StringOperation::kLike, text, part), 0);
  EXPECT_EQ(string_check(StringOperation::kIlike, text + "B", part), 1);
}

}  // namespace
}  // namespace finetuned::graders
