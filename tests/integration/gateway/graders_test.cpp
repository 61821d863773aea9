#include "tests/integration/gateway/running_gateway.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;

const std::string kRun = "/v1/fine_tuning/alpha/graders/run";
const std::string kValidate = "/v1/fine_tuning/alpha/graders/validate";

std::string similarity(const std::string& metric) {
  return R"({"type":"text_similarity","name":"near","input":"{{sample.output_text}}","reference":"{{item.answer}}","evaluation_metric":")" +
         metric + "\"}";
}
const std::string kExact =
    R"({"type":"string_check","name":"exact","input":"{{ sample.output_text }}","reference":"{{ item.answer }}","operation":"eq"})";

std::string multi(const std::string& graders, const std::string& formula) {
  return R"({"type":"multi","name":"both","graders":)" + graders + R"(,"calculate_output":")" + formula + R"("})";
}

class GradersTest : public GatewayTest {
 protected:
  Answer run(const std::string& grader, const std::string& output, const std::string& item = R"({"answer":"kitten"})") {
    return send("POST", kRun, R"({"grader":)" + grader + R"(,"item":)" + item + R"(,"model_sample":")" + output + "\"}");
  }
  Answer validate(const std::string& grader) { return send("POST", kValidate, R"({"grader":)" + grader + "}"); }
};

/// The keys that the specification requires, and ours.
const char* const kErrors[] = {"formula_parse_error", "sample_parse_error", "truncated_observation_error", "unresponsive_reward_error",
                               "invalid_variable_error", "other_error", "python_grader_server_error", "python_grader_server_error_type",
                               "python_grader_runtime_error", "python_grader_runtime_error_details", "model_grader_server_error",
                               "model_grader_refusal_error", "model_grader_parse_error", "model_grader_server_error_details", "details"};

TEST_F(GradersTest, ARunAnswersWithEveryKeyOfTheSpecification) {
  const Answer answer = run(kExact, "kitten");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json::value graded = answer.json();
  EXPECT_EQ(graded.as_object().size(), 4u);
  EXPECT_EQ(graded.at("reward").as_double(), 1);
  EXPECT_TRUE(graded.at("sub_rewards").as_object().empty());
  EXPECT_TRUE(graded.at("model_grader_token_usage_per_model").as_object().empty());
  const json::object& metadata = graded.at("metadata").as_object();
  EXPECT_EQ(metadata.size(), 7u);
  EXPECT_EQ(metadata.at("name"), "exact");
  EXPECT_EQ(metadata.at("type"), "string_check");
  EXPECT_GE(metadata.at("execution_time").as_double(), 0);
  EXPECT_TRUE(metadata.at("scores").as_object().empty());
  EXPECT_TRUE(metadata.at("token_usage").is_null());
  EXPECT_TRUE(metadata.at("sampled_model_name").is_null());
  const json::object& errors = metadata.at("errors").as_object();
  EXPECT_EQ(errors.size(), std::size(kErrors));
  for (const char* key : kErrors) EXPECT_TRUE(errors.at(key) == false || errors.at(key).is_null()) << key;
}

TEST_F(GradersTest, MetricsAndFormulasAreComputed) {
  EXPECT_DOUBLE_EQ(run(similarity("fuzzy_match"), "sitting").json().at("reward").as_double(), 8.0 / 13);
  EXPECT_DOUBLE_EQ(run(similarity("rouge_1"), "a kitten").json().at("reward").as_double(), 2.0 / 3);
  const json::value both =
      run(multi(R"({"exact":)" + kExact + R"(,"near":)" + similarity("rouge_l") + "}", "max(exact, near) / 2 + 0.25"), "the kitten").json();
  EXPECT_NEAR(both.at("reward").as_double(), 7.0 / 12, 1e-12);
  EXPECT_EQ(both.at("sub_rewards").at("exact").as_double(), 0);
  EXPECT_DOUBLE_EQ(both.at("sub_rewards").at("near").as_double(), 2.0 / 3);
  EXPECT_EQ(both.at("metadata").at("type"), "multi");
  EXPECT_EQ(both.at("metadata").at("scores"), both.at("sub_rewards"));
}

TEST_F(GradersTest, WhatGoesWrongWhileGradingStandsInTheErrors) {
  const auto errors = [&](const Answer& answer) {
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(answer.json().at("reward").as_double(), 0);
    return answer.json().at("metadata").at("errors").as_object();
  };
  const json::object missing = errors(run(kExact, "x", "{}"));
  EXPECT_EQ(missing.at("invalid_variable_error"), true);
  EXPECT_EQ(missing.at("other_error"), false);
  EXPECT_EQ(text(missing.at("details")), "{{item.answer}}: the item has no 'answer'");
  const std::string reads_json =
      R"({"type":"string_check","name":"j","input":"{{sample.output_json.x}}","reference":"1","operation":"eq"})";
  EXPECT_EQ(errors(run(reads_json, "plain")).at("sample_parse_error"), true);
  const json::object divided = errors(run(multi(R"({"exact":)" + kExact + "}", "1 / exact"), "x"));
  EXPECT_EQ(divided.at("other_error"), true);
  EXPECT_EQ(text(divided.at("details")), "calculate_output divides by zero");
  const json::object nested = errors(run(multi(R"({"exact":)" + kExact + R"(,"json":)" + reads_json + "}", "exact"), "kitten"));
  EXPECT_EQ(nested.at("sample_parse_error"), true);
  EXPECT_EQ(text(nested.at("details")).rfind("json: ", 0), 0u);
  EXPECT_EQ(errors(run(similarity("bleu"), std::string(40'000, 'x'))).at("other_error"), true);
}

TEST_F(GradersTest, AValidGraderIsGivenBack) {
  const std::string grader = multi(R"({"exact":)" + kExact + R"(,"near":)" + similarity("meteor") + "}", "(exact + near) / 2");
  const Answer answer = validate(grader);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json().as_object().size(), 1u);
  EXPECT_EQ(answer.json().at("grader"), base::parse_json(grader));
}

TEST_F(GradersTest, WhatCannotRunIsRefusedByBothAlike) {
  const std::string model = R"({"type":"score_model","name":"s","model":"m","input":[]})";
  const std::tuple<std::string, const char*, const char*> cases[] = {
      {model, "unsupported_grader", "grader.type"},
      {R"({"type":"python","name":"p","source":"def grade(sample, item): return 1"})", "unsupported_grader", "grader.type"},
      {R"({"type":"label_model","name":"l","model":"m","input":[],"labels":[],"passing_labels":[]})", "unsupported_grader", "grader.type"},
      {multi(R"({"exact":)" + kExact + R"(,"judge":)" + model + "}", "exact"), "unsupported_grader", "grader.graders.judge.type"},
      {similarity("cosine"), "unsupported_grader", "grader.evaluation_metric"},
      {similarity("rouge_9"), "invalid_value", "grader.evaluation_metric"},
      {R"("exact")", "invalid_value", "grader"},
      {"null", "missing_required_parameter", "grader"},
      {R"({"type":"string_check","name":"n","input":"{{env.HOME}}","reference":"","operation":"eq"})", "invalid_template", "grader.input"},
      {multi(R"({"exact":)" + kExact + "}", "exact +"), "invalid_formula", "grader.calculate_output"},
      {multi(R"({"exact":)" + kExact + "}", "other"), "invalid_formula", "grader.calculate_output"},
  };
  for (const auto& [grader, code, param] : cases)
    for (const Answer& answer : {validate(grader), run(grader, "x")}) {
      EXPECT_EQ(answer.status, 400) << grader;
      EXPECT_EQ(answer.code(), code) << grader;
      EXPECT_EQ(answer.param(), param) << grader;
    }
}

TEST_F(GradersTest, TheRestOfTheBodyIsReadStrictly) {
  const auto refused = [&](const std::string& path, const std::string& body) {
    const Answer answer = send("POST", path, body);
    EXPECT_EQ(answer.status, 400) << body;
    return answer.code() + " " + answer.param();
  };
  EXPECT_EQ(refused(kRun, "{"), "invalid_json ");
  EXPECT_EQ(refused(kRun, R"({"model_sample":"x"})"), "missing_required_parameter grader");
  EXPECT_EQ(refused(kRun, R"({"grader":)" + kExact + "}"), "missing_required_parameter model_sample");
  EXPECT_EQ(refused(kRun, R"({"grader":)" + kExact + R"(,"model_sample":7})"), "invalid_value model_sample");
  EXPECT_EQ(refused(kRun, R"({"grader":)" + kExact + R"(,"model_sample":"x","item":[]})"), "invalid_value item");
  EXPECT_EQ(send("POST", kRun, R"({"grader":)" + kExact + R"(,"item":{"city":"x"},"model_sample":"x","more":1})").status, 200);
  EXPECT_EQ(send("POST", kValidate, R"({"grader":)" + kExact + R"(,"item":{}})").status, 200) << "it means nothing here";
  const Answer without_item = send("POST", kRun, R"({"model_sample":"","grader":{"type":"string_check","name":"n","operation":"eq",)"
                                                 R"("input":"{{sample.output_text}}","reference":""}})");
  EXPECT_EQ(without_item.status, 200) << without_item.body;
  EXPECT_EQ(without_item.json().at("reward").as_double(), 1);
}

TEST_F(GradersTest, ASampleHasAtMost256KiB) {
  RunningGateway roomy([](base::Settings& settings) { settings.gateway.max_json_bytes = 1 << 20; });
  const auto graded = [&](std::size_t bytes) {
    Call request;
    request.method = "POST";
    request.path = kRun;
    request.key = tenant_.key;
    request.body = R"({"grader":)" + kExact + R"(,"item":{"answer":""},"model_sample":")" + std::string(bytes, 'x') + "\"}";
    return call(roomy.port(), request);
  };
  EXPECT_EQ(graded(256 << 10).status, 200);
  const Answer refused = graded((256 << 10) + 1);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.param(), "model_sample");
}

TEST_F(GradersTest, TakeAProjectsKeyAlone) {
  const std::string body = R"({"grader":)" + kExact + "}";
  EXPECT_EQ(send_as("sk-ft-wrong", "POST", kValidate, body).status, 401);
  EXPECT_EQ(send_as(tenant_.admin_key, "POST", kValidate, body).status, 403);
  EXPECT_EQ(send("GET", kRun).status, 405);
  EXPECT_EQ(send_as(make_tenant().key, "POST", kValidate, body).status, 200);
}

}  // namespace
}  // namespace finetuned::tests
