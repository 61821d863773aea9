#include <algorithm>
#include <chrono>

#include "base/errors.h"
#include "services/gateway/graders/grader_parse.h"
#include "services/gateway/graders/run.h"
#include "services/gateway/job_request.h"
#include "services/gateway/routes/routes.h"

namespace finetuned::gateway {

namespace json = base::json;
using graders::FailureKind;

namespace {

const json::value& required(const json::object& body, const char* key) {
  const json::value* value = body.if_contains(key);
  if (!value || value->is_null())
    throw base::bad_request("missing_required_parameter", std::string("Missing required parameter: ") + key + ".", key);
  return *value;
}

graders::Sample read_sample(const json::object& body) {
  const json::value& output = required(body, "model_sample");
  if (!output.is_string()) throw base::bad_request("invalid_value", "model_sample must be a string.", "model_sample");
  if (output.get_string().size() > graders::kMostRenderedBytes)
    throw base::bad_request("invalid_value", "model_sample must have at most " + std::to_string(graders::kMostRenderedBytes) + " bytes.",
                            "model_sample");
  const json::value* item = body.if_contains("item");
  if (item && !item->is_null() && !item->is_object()) throw base::bad_request("invalid_value", "item must be an object.", "item");
  return {item && item->is_object() ? item->get_object() : json::object(), std::string(output.get_string())};
}

/// OpenAI's keys, all of them, and `details`: ours, what went wrong in words.
json::object errors_shape(const std::vector<graders::Failure>& failures) {
  const auto any = [&](FailureKind kind) {
    return std::any_of(failures.begin(), failures.end(), [kind](const graders::Failure& one) { return one.kind == kind; });
  };
  std::string details;
  for (const graders::Failure& one : failures)
    details += (details.empty() ? "" : "; ") + (one.grader.empty() ? "" : one.grader + ": ") + one.message;
  json::object errors;
  errors["formula_parse_error"] = false;  // such a grader is refused before it runs
  errors["sample_parse_error"] = any(FailureKind::kSampleParse);
  errors["truncated_observation_error"] = false;
  errors["unresponsive_reward_error"] = false;
  errors["invalid_variable_error"] = any(FailureKind::kInvalidVariable);
  errors["other_error"] = any(FailureKind::kOther);
  errors["python_grader_server_error"] = false;
  errors["python_grader_server_error_type"] = nullptr;
  errors["python_grader_runtime_error"] = false;
  errors["python_grader_runtime_error_details"] = nullptr;
  errors["model_grader_server_error"] = false;
  errors["model_grader_refusal_error"] = false;
  errors["model_grader_parse_error"] = false;
  errors["model_grader_server_error_details"] = nullptr;
  errors["details"] = details.empty() ? json::value(nullptr) : json::value(details);
  return errors;
}

Response run_grader(const Platform&, const Request& request) {
  const json::object body = parse_body(request.body);
  const graders::Grader grader = graders::parse_grader(required(body, "grader"), "grader");
  const graders::Sample sample = read_sample(body);
  const auto begin = std::chrono::steady_clock::now();
  const graders::Grading grading = graders::run(grader, sample);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;

  json::object sub_rewards;
  for (const auto& [key, reward] : grading.sub_rewards) sub_rewards[key] = reward;
  json::object metadata;
  metadata["name"] = graders::name_of(grader);
  metadata["type"] = graders::type_of(grader);
  metadata["errors"] = errors_shape(grading.failures);
  metadata["execution_time"] = seconds.count();
  metadata["scores"] = sub_rewards;
  metadata["token_usage"] = nullptr;
  metadata["sampled_model_name"] = nullptr;
  json::object answer;
  answer["reward"] = grading.reward;
  answer["metadata"] = std::move(metadata);
  answer["sub_rewards"] = std::move(sub_rewards);
  answer["model_grader_token_usage_per_model"] = json::object();
  return json_response(answer);
}

/// The grader as it was given, which is then one that runs.
Response validate_grader(const Platform&, const Request& request) {
  const json::object body = parse_body(request.body);
  const json::value& grader = required(body, "grader");
  graders::parse_grader(grader, "grader");
  json::object answer;
  answer["grader"] = grader;
  return json_response(answer);
}

}  // namespace

void add_grader_routes(Router& router, const Platform& platform) {
  router.add("POST", "/v1/fine_tuning/alpha/graders/run", Access::kProject,
             [&platform](const Request& request) { return run_grader(platform, request); });
  router.add("POST", "/v1/fine_tuning/alpha/graders/validate", Access::kProject,
             [&platform](const Request& request) { return validate_grader(platform, request); });
}

}  // namespace finetuned::gateway
