#include "tests/integration/gateway/estate.h"

#include <set>

#include "base/ids.h"
#include "storage/inference_usage_store.h"
#include "storage/key_store.h"
#include "storage/model_store.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

namespace {

constexpr const char* kAlert = R"({"threshold_amount":5,"currency":"USD","interval":"month","notification_channel":)"
                               R"({"type":"email","recipients":["a@b.c"]}})";
constexpr const char* kLimit = R"({"threshold_amount":500,"currency":"USD","interval":"month"})";
// What stands above projects: a neighbour's is its own as well.
const std::set<std::string> kOfOrganization{"organization_id", "key_id", "user_id", "organization_alert_id", "friend_id", "email", "role_id"};
const std::set<std::string> kOfEverybody{"base", "rate_limit_id", "challenge_id", "open_challenge_id"};

class Builder {
 public:
  explicit Builder(std::uint16_t port) : port_(port) {}

  Estate build(const Estate* neighbour) {
    take_project(neighbour);
    upload_things();
    make_jobs();
    make_model();
    add_webhook();
    make_challenge();
    set_up_project();
    if (!neighbour) set_up_organization();
    note_rows();
    return std::move(estate_);
  }

 private:
  json::value ask(const std::string& key, const std::string& method, const std::string& path, const std::string& body = "",
                  const std::string& content_type = "application/json") {
    Call request;
    request.method = method;
    request.path = path;
    request.key = key;
    request.body = body;
    request.content_type = content_type;
    const Answer answer = call(port_, request);
    EXPECT_TRUE(answer.status == 200 || answer.status == 202) << method << " " << path << ": " << answer.body;
    return answer.json();
  }
  json::value own(const std::string& method, const std::string& path, const std::string& body = "") {
    return ask(estate_.tenant.key, method, path, body);
  }
  json::value admin(const std::string& method, const std::string& path, const std::string& body = "") {
    return ask(estate_.tenant.admin_key, method, "/v1/organization" + path, body);
  }
  std::string project_path(const std::string& below) const { return "/projects/" + estate_.tenant.project.id + below; }
  void note(const std::string& name, const std::string& id) {
    EXPECT_FALSE(id.empty()) << name;
    estate_.ids[name].push_back(id);
  }

  void take_project(const Estate* neighbour) {
    if (neighbour) {
      estate_ = {neighbour->tenant, {}};
      for (const auto& [name, ids] : neighbour->ids)
        if (kOfOrganization.contains(name)) estate_.ids[name] = ids;
      const std::string id = text(admin("POST", "/projects", R"({"name":")" + base::make_id("neighbour") + "\"}").at("id"));
      pool().transact(Scope::system(), [&](Transaction& tx) {
        estate_.tenant.project = storage::OrganizationStore(tx).find_project(id).value();
        estate_.tenant.key = storage::KeyStore(tx).create_project_key(id, "test").secret;
      });
    } else {
      estate_.tenant = make_tenant();
      note("organization_id", estate_.tenant.project.organization_id);
    }
    note("project_id", estate_.tenant.project.id);
    give_credit(pool(), estate_.tenant.project, 1'000'000'000);
  }

  void upload_things() {
    const std::string& key = estate_.tenant.key;
    note("file_id", text(ask(key, "POST", "/v1/files", multipart({field_part("purpose", "user_data"), file_part("a.txt", "abc")}),
                             kMultipart).at("id")));
    const auto upload = own("POST", "/v1/uploads", R"({"filename":"a.txt","purpose":"user_data","bytes":3,"mime_type":"text/plain"})");
    note("upload_id", text(upload.at("id")));
    note("part_id", text(ask(key, "POST", "/v1/uploads/" + estate_.id("upload_id") + "/parts",
                             multipart({field_part("data", "abc")}), kMultipart).at("id")));
    base_ = make_base_model(pool());
    note("base", base_.name);
    note("rate_limit_id", "rl-" + base_.name);
    const auto counted = make_counted_file(pool(), estate_.tenant.project, base_, std::vector<std::uint32_t>(20, 10));
    note("training_file", counted.id);
    note("file_id", counted.id);
  }

  /// One queued, one that runs, one that has succeeded.
  void make_jobs() {
    const std::string body = estate_.fill(R"({"model":"$base","training_file":"$training_file","metadata":{"of":"$project_id"}})");
    for (int i = 0; i < 3; ++i) note("fine_tuning_job_id", text(own("POST", "/v1/fine_tuning/jobs", body).at("id")));
    const auto& jobs = estate_.ids.at("fine_tuning_job_id");
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE job SET state = 'running', started_at = clock_timestamp(), worker = 'w', lease_epoch = 1,"
                 " lease_until = clock_timestamp() + interval '1 hour' WHERE id = $1", {jobs[1]});
    });
  }

  void make_model() {
    const std::string job = estate_.ids.at("fine_tuning_job_id")[2];
    const std::string model = "ft:" + base_.name + ":acme::" + job.substr(6, 8);
    const auto result = make_file(pool(), estate_.tenant.project);
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE file SET purpose = 'fine-tune-results', status = 'processed' WHERE id = $1", {result.id});
      tx.execute("INSERT INTO job_result_file (job_id, position, file_id, project_id) VALUES ($1, 0, $2, $3)",
                 {job, result.id, estate_.tenant.project.id});
      tx.execute("INSERT INTO job_checkpoint (id, job_id, project_id, step, trained_tokens, model_name, metrics, objects, sha256)"
                 " VALUES ($1, $2, $3, 5, 50, $4, '{}', $5::jsonb, $6::jsonb)",
                 {base::make_id("ftckpt"), job, estate_.tenant.project.id, model + ":ckpt-step-5",
                  R"({"adapter_model.safetensors":")" + result.object_id + "\"}",
                  R"({"adapter_model.safetensors":")" + result.sha256 + "\"}"});
      storage::ModelStore(tx).add_fine_tuned({.name = model, .project_id = estate_.tenant.project.id, .job_id = job,
                                              .base_model = base_.name, .objects = {{"adapter_model.safetensors", result.object_id}}});
      tx.execute("UPDATE job SET state = 'succeeded', started_at = clock_timestamp(), finished_at = clock_timestamp(),"
                 " fine_tuned_model = $2, trained_tokens = 50 WHERE id = $1", {job, model});
    });
    note("file_id", result.id);
    note("result_file", result.id);
    for (const std::string& name : {model, model + ":ckpt-step-5"}) {
      note("model", name);
      note("fine_tuned_model_checkpoint", name);
    }
    note("export_id", text(own("POST", "/v1/models/" + model + "/export", R"({"format":"peft"})").at("id")));
  }

  void add_webhook() {
    const std::string path = "/v1/webhook_endpoints";
    note("webhook_endpoint_id", text(own("POST", path, R"({"url":"https://hooks.example.com/a"})").at("id")));
    const std::string second = text(own("POST", path, R"({"url":"https://hooks.example.com/b"})").at("id"));
    note("webhook_endpoint_id", second);
    note("delivery_id", text(own("POST", path + "/" + second + "/test").at("id")));
  }

  void make_challenge() {
    const std::string challenge = R"({"project_id":"$project_id","name":"better","model":"$base","training_file":"$training_file",)"
                                  R"("validation_file":"$training_file","token_budget":5000,"reward":"1000","target":1})";
    note("challenge_id", text(admin("POST", "/challenges", estate_.fill(challenge)).at("id")));
    note("open_challenge_id", estate_.id("challenge_id"));
    const std::string path = "/v1/challenges/" + estate_.id("challenge_id") + "/contributions";
    note("contribution_id", text(own("POST", path, R"({"recipe":{"lora_rank":4}})").at("id")));
    // As a verification leaves one that won: something for an administrator to confirm.
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE contribution SET state = 'won', decided_at = clock_timestamp(), award_micro = 2, escrow_micro = 1,"
                 " vests_at = clock_timestamp() + interval '7 days' WHERE id = $1", {estate_.id("contribution_id")});
    });
  }

  void set_up_project() {
    const auto account = admin("POST", project_path("/service_accounts"), R"({"name":"robot"})");
    note("service_account_id", text(account.at("id")));
    pool().transact(Scope::system(), [&](Transaction& tx) {
      note("api_key_id", storage::KeyStore(tx).create_project_key(estate_.tenant.project.id, "spare").key.id);
    });
    note("api_key_id", text(account.at("api_key").at("id")));
    const std::string email = base::make_id("someone") + "@example.com";
    note("member_id", text(admin("POST", project_path("/users"), R"({"role":"member","email":")" + email + "\"}").at("id")));
    note("email", email);
    note("user_id", estate_.id("member_id"));
    note("role_id", text(admin("POST", "/users/" + estate_.id("user_id") + "/roles", R"({"role_id":"role-owner"})").at("role").at("id")));
    note("alert_id", text(admin("POST", project_path("/spend_alerts"), kAlert).at("id")));
    admin("POST", project_path("/spend_limit"), kLimit);
    admin("PUT", project_path("/quotas"), R"({"queued_jobs":50})");
    admin("POST", project_path("/rate_limits/rl-" + base_.name), R"({"max_requests_per_1_minute":5000})");
    if (!estate_.ids.contains("friend_id"))
      note("friend_id", text(admin("POST", "/projects", R"({"name":")" + base::make_id("friend") + "\"}").at("id")));
    const auto permitted = ask(estate_.tenant.admin_key, "POST",
                               "/v1/fine_tuning/checkpoints/" + estate_.id("model") + "/permissions",
                               R"({"project_ids":[")" + estate_.id("friend_id") + "\"]}");
    note("permission_id", text(permitted.at("data").at(0).at("id")));
  }

  void set_up_organization() {
    note("key_id", text(admin("POST", "/admin_api_keys", R"({"name":"other"})").at("id")));
    note("organization_alert_id", text(admin("POST", "/spend_alerts", kAlert).at("id")));
    admin("POST", "/spend_limit", kLimit);
  }

  /// Ids that no answer gave, and usage to be asked for.
  void note_rows() {
    const Tenant& tenant = estate_.tenant;
    pool().transact(Scope::system(), [&](Transaction& tx) {
      const auto first = [&](const std::string& table) {
        return tx.execute("SELECT min(id::text) AS id FROM " + table + " WHERE project_id = $1", {tenant.project.id}).row(0).text("id");
      };
      note("event_id", first("job_event"));
      note("checkpoint_id", first("job_checkpoint"));
      note("transfer_id", first("transfer"));
      note("audit_id", first("audit_log"));
      storage::InferenceUsageStore(tx).add({.request_id = base::make_id("req"), .project_id = tenant.project.id,
                                            .api_key_id = estate_.id("api_key_id"), .model = estate_.id("model"),
                                            .prompt_tokens = 7, .completion_tokens = 3});
    });
  }

  const std::uint16_t port_;
  Estate estate_;
  storage::BaseModel base_;
};

}  // namespace

std::string Estate::fill(std::string text) const {
  for (std::size_t at = 0; (at = text.find('$', at)) != std::string::npos;) {
    const std::size_t end = text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_", at + 1);
    const std::string& value = id(text.substr(at + 1, end == std::string::npos ? end : end - at - 1));
    text.replace(at, end == std::string::npos ? end : end - at, value);
    at += value.size();
  }
  return text;
}

std::vector<std::string> Estate::own_ids() const {
  std::vector<std::string> all;
  for (const auto& [name, values] : ids)
    if (!kOfOrganization.contains(name) && !kOfEverybody.contains(name)) all.insert(all.end(), values.begin(), values.end());
  return all;
}

Estate make_estate(std::uint16_t port, const Estate* neighbour) { return Builder(port).build(neighbour); }

std::string missing_like(const std::string& id) {
  const bool uuid = id.size() == 36 && id[8] == '-';
  return uuid ? base::make_uuid() : id.substr(0, id.size() - 8) + base::make_id("x").substr(2, 8);
}

}  // namespace finetuned::tests
