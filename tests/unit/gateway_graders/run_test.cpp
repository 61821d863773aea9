#include "services/gateway/graders/run.h"

#include <gtest/gtest.h>

#include "services/gateway/graders/grader_parse.h"

namespace finetuned::graders {
namespace {

const std::string kExact = R"({"type":"string_check","name":"e","input":"{{sample.output_text}}","reference":"{{item.answer}}","operation":"eq"})";
const std::string kNear =
    R"({"type":"text_similarity","name":"s","input":"{{sample.output_text}}","reference":"{{item.answer}}","evaluation_metric":"fuzzy_match"})";
const std::string kJson =
    R"({"type":"string_check","name":"j","input":"{{sample.output_json.x}}","reference":"1","operation":"eq"})";

Grading graded(const std::string& grader, const std::string& item, const std::string& output) {
  return run(parse_grader(base::parse_json(grader), "grader"), Sample(base::parse_json(item).as_object(), output));
}

std::string multi(const std::string& graders, const std::string& formula) {
  return R"({"type":"multi","name":"m","graders":)" + graders + R"(,"calculate_output":")" + formula + R"("})";
}

TEST(Run, GradesBySingleGraders) {
  EXPECT_EQ(graded(kExact, R"({"answer":"kitten"})", "kitten").reward, 1);
  EXPECT_EQ(graded(kExact, R"({"answer":"kitten"})", "sitting").reward, 0);
  const Grading near = graded(kNear, R"({"answer":"kitten"})", "sitting");
  EXPECT_DOUBLE_EQ(near.reward, 8.0 / 13);
  EXPECT_TRUE(near.failures.empty());
  EXPECT_TRUE(near.sub_rewards.empty());
  EXPECT_EQ(graded(kJson, "{}", R"({"x":1})").reward, 1);
}

TEST(Run, CombinesByTheFormula) {
  const Grading grading = graded(multi(R"({"exact":)" + kExact + R"(,"near":)" + kNear + "}", "0.25 * exact + 13 * near"),
                                 R"({"answer":"kitten"})", "sitting");
  EXPECT_DOUBLE_EQ(grading.reward, 8);
  ASSERT_EQ(grading.sub_rewards.size(), 2u);
  EXPECT_EQ(grading.sub_rewards[0], (std::pair<std::string, double>{"exact", 0}));
  EXPECT_EQ(grading.sub_rewards[1].first, "near");
  EXPECT_TRUE(grading.failures.empty());
}

TEST(Run, AFailureIsNoReward) {
  const Grading missing = graded(kExact, "{}", "x");
  EXPECT_EQ(missing.reward, 0);
  ASSERT_EQ(missing.failures.size(), 1u);
  EXPECT_EQ(missing.failures[0].kind, FailureKind::kInvalidVariable);
  const Grading plain = graded(kJson, "{}", "plain");
  ASSERT_EQ(plain.failures.size(), 1u);
  EXPECT_EQ(plain.failures[0].kind, FailureKind::kSampleParse);
  const Grading divided = graded(multi(R"({"exact":)" + kExact + "}", "1 / exact"), R"({"answer":"a"})", "b");
  EXPECT_EQ(divided.reward, 0);
  ASSERT_EQ(divided.failures.size(), 1u);
  EXPECT_EQ(divided.failures[0].kind, FailureKind::kOther);
  EXPECT_EQ(divided.sub_rewards.size(), 1u);
}

TEST(Run, AFailedPartFailsTheWholeAndIsNamed) {
  const Grading grading = graded(multi(R"({"near":)" + kNear + R"(,"json":)" + kJson + "}", "near"), R"({"answer":"plain"})", "plain");
  EXPECT_EQ(grading.reward, 0);
  ASSERT_EQ(grading.failures.size(), 1u);
  EXPECT_EQ(grading.failures[0].grader, "json");
  ASSERT_EQ(grading.sub_rewards.size(), 1u);
  EXPECT_EQ(grading.sub_rewards[0], (std::pair<std::string, double>{"near", 1}));
}

TEST(Run, GradersKnowTheirNamesAndTypes) {
  const auto named = [](const std::string& text) {
    const Grader grader = parse_grader(base::parse_json(text), "grader");
    return name_of(grader) + " " + type_of(grader);
  };
  EXPECT_EQ(named(kExact), "e string_check");
  EXPECT_EQ(named(kNear), "s text_similarity");
  EXPECT_EQ(named(multi(kExact, "e")), "m multi");
}

}  // namespace
}  // namespace finetuned::graders
