#include "tests/integration/gateway/route_matrix.h"

namespace finetuned::tests {

namespace {

const std::string kGrader =
    R"({"type":"string_check","name":"n","operation":"eq","input":"{{sample.output_text}}","reference":"a"})";
const std::string kJob = R"({"model":"$base","training_file":"$training_file"})";
const std::string kAlert = R"({"threshold_amount":7,"currency":"USD","interval":"month","notification_channel":)"
                           R"({"type":"email","recipients":["a@b.c"]}})";
const std::string kLimit = R"({"threshold_amount":700,"currency":"USD","interval":"month"})";

std::vector<MatrixEntry> open_routes() {
  return {{.route = "GET /healthz", .open = true},
          {.route = "GET /readyz", .open = true},
          {.route = "GET /metrics", .open = true},
          {.route = "GET /openapi.json", .open = true},
          {.route = "GET /v1/openapi.json", .open = true},
          {.route = "GET /v1/downloads/{file_id}", .status = 403, .open = true}};  // not without its signature
}

std::vector<MatrixEntry> data_routes() {
  return {{"GET /v1/files"},
          {.route = "POST /v1/files", .body = multipart({field_part("purpose", "user_data"), file_part("a", "abc")}), .form = true},
          {"GET /v1/files/{file_id}"},
          {"DELETE /v1/files/{file_id}"},
          {"GET /v1/files/{file_id}/content"},
          {"GET /v1/files/{file_id}/report"},
          {"POST /v1/files/{file_id}/download_url", "{}"},
          {"POST /v1/uploads", R"({"filename":"a","purpose":"user_data","bytes":3,"mime_type":"text/plain"})"},
          {.route = "POST /v1/uploads/{upload_id}/parts", .body = multipart({field_part("data", "abc")}), .form = true},
          {"POST /v1/uploads/{upload_id}/complete", R"({"part_ids":["$part_id"]})"},
          {"POST /v1/uploads/{upload_id}/cancel", "{}"},
          {"GET /v1/billing/balances"},
          {"GET /v1/billing/transfers"},
          {.route = "GET /v1/billing/statement", .status = 400},  // without its month
          {"GET /v1/challenges"},
          {"GET /v1/challenges/{challenge_id}"},
          {"GET /v1/challenges/{challenge_id}/leaderboard"},
          {"POST /v1/challenges/{challenge_id}/contributions", R"({"recipe":{"lora_rank":16}})"},
          {"GET /v1/challenges/{challenge_id}/contributions"},
          {"GET /v1/challenges/{challenge_id}/contributions/{contribution_id}"},
          {"POST /v1/webhook_endpoints", R"({"url":"https://hooks.example.com/c"})"},
          {"GET /v1/webhook_endpoints"},
          {"GET /v1/webhook_endpoints/{webhook_endpoint_id}"},
          {"POST /v1/webhook_endpoints/{webhook_endpoint_id}", R"({"description":"mine"})"},
          {"DELETE /v1/webhook_endpoints/{webhook_endpoint_id}"},
          {"POST /v1/webhook_endpoints/{webhook_endpoint_id}/rotate_secret", "{}"},
          {"GET /v1/webhook_endpoints/{webhook_endpoint_id}/deliveries"},
          {"POST /v1/webhook_endpoints/{webhook_endpoint_id}/test", "{}"}};
}

std::vector<MatrixEntry> model_routes() {
  return {{"POST /v1/fine_tuning/jobs", kJob},
          {"POST /v1/fine_tuning/jobs/quote", kJob},
          {"GET /v1/fine_tuning/jobs"},
          {"GET /v1/fine_tuning/jobs/{fine_tuning_job_id}"},
          {"POST /v1/fine_tuning/jobs/{fine_tuning_job_id}/cancel", "{}"},
          {"POST /v1/fine_tuning/jobs/{fine_tuning_job_id}/pause", "{}"},
          {"POST /v1/fine_tuning/jobs/{fine_tuning_job_id}/resume", "{}"},
          {"GET /v1/fine_tuning/jobs/{fine_tuning_job_id}/events"},
          {"GET /v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints"},
          {"GET /v1/fine_tuning/jobs/{fine_tuning_job_id}/statement"},
          {"GET /v1/fine_tuning/jobs/{fine_tuning_job_id}/stream"},
          {"POST /v1/fine_tuning/alpha/graders/run", R"({"model_sample":"a","grader":)" + kGrader + "}"},
          {"POST /v1/fine_tuning/alpha/graders/validate", R"({"grader":)" + kGrader + "}"},
          {"GET /v1/models"},
          {"GET /v1/models/{model}"},
          {"DELETE /v1/models/{model}"},
          {"POST /v1/models/{model}/export", R"({"format":"merged"})", 202},
          {"GET /v1/models/{model}/exports"},
          {"GET /v1/models/{model}/exports/{export_id}"},
          // No worker is there to answer: they come as far as that.
          {"POST /v1/chat/completions", R"({"model":"$base","messages":[{"role":"user","content":"a"}]})", 503},
          {"POST /v1/completions", R"({"model":"$base","prompt":"a"})", 503},
          {"GET /v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions"},
          {"POST /v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions", R"({"project_ids":["$friend_id"]})"},
          {"DELETE /v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions/{permission_id}"}};
}

std::vector<MatrixEntry> organization_routes() {
  return {{"GET /v1/organization/admin_api_keys"},
          {"POST /v1/organization/admin_api_keys", R"({"name":"k"})"},
          {"GET /v1/organization/admin_api_keys/{key_id}"},
          {"DELETE /v1/organization/admin_api_keys/{key_id}"},
          {"GET /v1/organization/users"},
          {"GET /v1/organization/users/{user_id}"},
          {"POST /v1/organization/users/{user_id}", R"({"role":"owner"})"},
          {"DELETE /v1/organization/users/{user_id}"},
          {"GET /v1/organization/users/{user_id}/roles"},
          {"POST /v1/organization/users/{user_id}/roles", R"({"role_id":"role-owner"})"},
          {"GET /v1/organization/users/{user_id}/roles/{role_id}"},
          {"DELETE /v1/organization/users/{user_id}/roles/{role_id}"},
          {"GET /v1/organization/spend_limit"},
          {"POST /v1/organization/spend_limit", kLimit},
          {"DELETE /v1/organization/spend_limit"},
          {"GET /v1/organization/spend_alerts"},
          {"POST /v1/organization/spend_alerts", kAlert},
          {"GET /v1/organization/spend_alerts/{alert_id}"},
          {"POST /v1/organization/spend_alerts/{alert_id}", kAlert},
          {"DELETE /v1/organization/spend_alerts/{alert_id}"},
          {"GET /v1/organization/prices"},
          {"POST /v1/organization/prices", R"({"nano_per_1k":"2000000"})"},
          {"GET /v1/organization/audit_logs"},
          {.route = "GET /v1/organization/usage/completions", .status = 400},  // without its start_time
          {.route = "GET /v1/organization/costs", .status = 400},
          {"POST /v1/organization/challenges",
           R"({"project_id":"$project_id","name":"another","model":"$base","training_file":"$training_file",)"
           R"("validation_file":"$training_file","token_budget":5000,"reward":"1000","target":1})"},
          {"GET /v1/organization/challenges"},
          {"POST /v1/organization/challenges/{challenge_id}/close", "{}"},
          {"POST /v1/organization/challenges/{challenge_id}/contributions/{contribution_id}/confirm", "{}"},
          {"GET /v1/organization/projects"},
          {"POST /v1/organization/projects", R"({"name":"fresh"})"}};
}

std::vector<MatrixEntry> project_routes() {
  const std::string one = " /v1/organization/projects/{project_id}";
  return {{"GET" + one},
          {"POST" + one, R"({"name":"renamed"})"},
          {"POST" + one + "/archive", "{}"},
          {"POST" + one + "/credits", R"({"amount":"5","reason":"gift"})"},
          {"GET" + one + "/api_keys"},
          {"GET" + one + "/api_keys/{api_key_id}"},
          {"DELETE" + one + "/api_keys/{api_key_id}"},
          {"GET" + one + "/service_accounts"},
          {"POST" + one + "/service_accounts", R"({"name":"second"})"},
          {"GET" + one + "/service_accounts/{service_account_id}"},
          {"POST" + one + "/service_accounts/{service_account_id}", R"({"name":"renamed"})"},
          {"DELETE" + one + "/service_accounts/{service_account_id}"},
          {"POST" + one + "/service_accounts/{service_account_id}/api_keys", R"({"name":"k"})"},
          {"GET" + one + "/users"},
          {"POST" + one + "/users", R"({"role":"member","email":"new@example.com"})"},
          {"GET" + one + "/users/{user_id}"},
          {"POST" + one + "/users/{user_id}", R"({"role":"owner"})"},
          {"DELETE" + one + "/users/{user_id}"},
          {"GET" + one + "/rate_limits"},
          {"POST" + one + "/rate_limits/{rate_limit_id}", R"({"max_requests_per_1_minute":9})"},
          {"GET" + one + "/spend_limit"},
          {"POST" + one + "/spend_limit", kLimit},
          {"DELETE" + one + "/spend_limit"},
          {"GET" + one + "/spend_alerts"},
          {"POST" + one + "/spend_alerts", kAlert},
          {"GET" + one + "/spend_alerts/{alert_id}"},
          {"POST" + one + "/spend_alerts/{alert_id}", kAlert},
          {"DELETE" + one + "/spend_alerts/{alert_id}"},
          {"GET" + one + "/credit_limit"},
          {"PUT" + one + "/credit_limit", R"({"amount":"7"})"},
          {"GET" + one + "/quotas"},
          {"PUT" + one + "/quotas", R"({"queued_jobs":40})"}};
}

std::string escaped(const std::string& value) {
  std::string text;
  for (const char c : value) text += c == '/' ? "%2F" : std::string(1, c);
  return text;
}

}  // namespace

std::vector<std::string> MatrixEntry::parameters() const {
  std::vector<std::string> names;
  for (std::size_t at = 0; (at = route.find('{', at)) != std::string::npos; ++at) {
    std::string name = route.substr(at + 1, route.find('}', at) - at - 1);
    if (name == "alert_id" && route.find("{project_id}") == std::string::npos)
      name = "organization_alert_id";
    // Challenges are everybody's; below /v1/organization they are their organization's.
    if (name == "challenge_id" && route.find("/v1/organization") == std::string::npos) name = "open_challenge_id";
    if (name == "user_id" && route.find("{project_id}") != std::string::npos) name = "member_id";
    names.push_back(name);
  }
  return names;
}

std::string MatrixEntry::path_with(const std::vector<std::string>& values) const {
  std::string text = path();
  for (const std::string& value : values) {
    const std::size_t begin = text.find('{');
    text.replace(begin, text.find('}') - begin + 1, escaped(value));
  }
  return text;
}

std::string MatrixEntry::path_of(const Estate& estate) const {
  std::vector<std::string> values;
  for (const std::string& name : parameters()) values.push_back(estate.id(name));
  return path_with(values);
}

const std::vector<MatrixEntry>& route_matrix() {
  static const std::vector<MatrixEntry> all = [] {
    std::vector<MatrixEntry> entries;
    for (const auto& some : {open_routes(), data_routes(), model_routes(), organization_routes(), project_routes()})
      entries.insert(entries.end(), some.begin(), some.end());
    return entries;
  }();
  return all;
}

}  // namespace finetuned::tests
