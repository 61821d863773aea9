#include "services/gateway/graders/grader_parse.h"

#include <gtest/gtest.h>

#include "base/errors.h"

namespace finetuned::graders {
namespace {

const std::string kCheck = R"({"type":"string_check","name":"n","input":"{{sample.output_text}}","reference":"{{item.a}}","operation":"eq"})";

Grader parsed(const std::string& text) { return parse_grader(base::parse_json(text), "grader"); }

/// "code param" of the refusal.
std::string refused(const std::string& text) {
  try {
    parsed(text);
  } catch (const base::ApiError& error) {
    EXPECT_EQ(error.status, 400);
    EXPECT_NE(std::string(error.what()).find(error.param.value_or("?")), std::string::npos) << "the message names the field";
    return error.code + " " + error.param.value_or("");
  }
  return "accepted";
}

std::string multi(const std::string& graders, const std::string& formula = "a") {
  return R"({"type":"multi","name":"m","graders":)" + graders + R"(,"calculate_output":")" + formula + R"("})";
}

TEST(GraderParse, ReadsEveryKind) {
  const auto check = std::get<StringCheck>(parsed(kCheck));
  EXPECT_EQ(check.name, "n");
  EXPECT_EQ(check.operation, StringOperation::kEq);
  const auto similarity = std::get<TextSimilarity>(
      parsed(R"({"type":"text_similarity","name":"s","input":"a","reference":"b","evaluation_metric":"rouge_5"})"));
  EXPECT_EQ(similarity.metric, Metric::kRouge5);
  const auto both = std::get<MultiGrader>(parsed(multi(R"({"a":)" + kCheck + R"(,"b":)" + kCheck + "}", "a + b")));
  EXPECT_EQ(both.keys, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(both.graders.size(), 2u);
  const auto one = std::get<MultiGrader>(parsed(multi(kCheck, "2 * n")));
  EXPECT_EQ(one.keys, std::vector<std::string>{"n"}) << "one grader, as the specification has it";
}

TEST(GraderParse, EveryMetricAndOperationOfTheSpecificationIsKnown) {
  for (const char* metric : {"fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"})
    EXPECT_EQ(refused(R"({"type":"text_similarity","name":"s","input":"a","reference":"b","evaluation_metric":")" + std::string(metric) + "\"}"),
              "accepted");
  for (const char* operation : {"eq", "ne", "like", "ilike"})
    EXPECT_EQ(refused(R"({"type":"string_check","name":"s","input":"a","reference":"b","operation":")" + std::string(operation) + "\"}"),
              "accepted");
}

TEST(GraderParse, WhatDoesNotRunHereIsSaidSo) {
  for (const char* type : {"score_model", "label_model", "python"}) {
    const std::string grader = R"({"type":")" + std::string(type) + R"(","name":"x","source":"def grade(): pass"})";
    EXPECT_EQ(refused(grader), "unsupported_grader grader.type");
    EXPECT_EQ(refused(multi(R"({"a":)" + kCheck + R"(,"b":)" + grader + "}")), "unsupported_grader grader.graders.b.type");
    EXPECT_EQ(refused(multi(grader)), "unsupported_grader grader.graders.type");
  }
  EXPECT_EQ(refused(R"({"type":"text_similarity","name":"s","input":"a","reference":"b","evaluation_metric":"cosine"})"),
            "unsupported_grader grader.evaluation_metric");
}

TEST(GraderParse, NamesTheFieldAtFault) {
  const std::pair<std::string, std::string> cases[] = {
      {"1", "invalid_value grader"},
      {"null", "invalid_value grader"},
      {"{}", "missing_required_parameter grader.type"},
      {R"({"type":1})", "invalid_value grader.type"},
      {R"({"type":"regex"})", "invalid_value grader.type"},
      {R"({"type":"string_check"})", "missing_required_parameter grader.name"},
      {R"({"type":"string_check","name":""})", "invalid_value grader.name"},
      {R"({"type":"string_check","name":")" + std::string(257, 'n') + "\"}", "invalid_value grader.name"},
      {R"({"type":"string_check","name":"n"})", "missing_required_parameter grader.input"},
      {R"({"type":"string_check","name":"n","input":7})", "invalid_value grader.input"},
      {R"({"type":"string_check","name":"n","input":"{{x.y}}"})", "invalid_template grader.input"},
      {R"({"type":"string_check","name":"n","input":"","reference":"{{"})", "invalid_template grader.reference"},
      {R"({"type":"string_check","name":"n","input":"","reference":"","operation":"neq"})", "invalid_value grader.operation"},
      {R"({"type":"string_check","name":"n","input":"","reference":""})", "missing_required_parameter grader.operation"},
      {R"({"type":"string_check","name":"n","pass":1})", "unknown_parameter grader.pass"},
      {R"({"type":"text_similarity","name":"n","input":"","reference":"","evaluation_metric":"rouge_6"})",
       "invalid_value grader.evaluation_metric"},
      {R"({"type":"multi","name":"m"})", "missing_required_parameter grader.graders"},
      {multi("[]"), "invalid_value grader.graders"},
      {multi("{}"), "invalid_value grader.graders"},
      {multi(R"({"a b":)" + kCheck + "}"), "invalid_value grader.graders"},
      {multi(R"({"min":)" + kCheck + "}"), "invalid_value grader.graders"},
      {multi(R"({"a":3})"), "invalid_value grader.graders.a"},
      {multi(R"({"a":{"type":"string_check"}})"), "missing_required_parameter grader.graders.a.name"},
      {multi(R"({"a":)" + multi(R"({"a":)" + kCheck + "}") + "}"), "invalid_value grader.graders.a.type"},
      {multi(R"({"a":)" + kCheck + "}", "a +"), "invalid_formula grader.calculate_output"},
      {multi(R"({"a":)" + kCheck + "}", "n"), "invalid_formula grader.calculate_output"},
      {R"({"type":"multi","name":"m","graders":{"a":)" + kCheck + "}}", "missing_required_parameter grader.calculate_output"},
  };
  for (const auto& [text, refusal] : cases) EXPECT_EQ(refused(text), refusal) << text;
}

TEST(GraderParse, AMultiGraderHoldsSixteen) {
  std::string graders = "{";
  for (int i = 0; i < 16; ++i) graders += (i ? ",\"g" : "\"g") + std::to_string(i) + "\":" + kCheck;
  EXPECT_EQ(refused(multi(graders + "}", "g0")), "accepted");
  EXPECT_EQ(refused(multi(graders + ",\"g16\":" + kCheck + "}", "g0")), "invalid_value grader.graders");
}

}  // namespace
}  // namespace finetuned::graders
