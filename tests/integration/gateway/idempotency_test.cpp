#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "tests/integration/gateway/admin_fixture.h"
#include "tests/integration/gateway/soon.h"
#include "tests/integration/gateway/walls_fixture.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

constexpr const char* kHooks = "/v1/webhook_endpoints";
constexpr const char* kHook = R"({"url":"https://hooks.example.com/a"})";
constexpr const char* kKeys = "/v1/organization/admin_api_keys";
const std::vector<std::string> kOnce{"Idempotency-Key: once"}, kRetry{"x-stainless-retry-count: 1"};

class IdempotencyTest : public AdminTest {
 protected:
  Answer post(const std::string& key, const std::string& path, const std::string& body,
              const std::vector<std::string>& headers) {
    Call request;
    request.method = "POST";
    request.path = path;
    request.key = key;
    request.body = body;
    request.headers = headers;
    return call(gateway_->port(), request);
  }
  std::string org(const std::string& below) { return "/v1/organization" + below; }
  std::size_t hooks() { return get(kHooks).json().at("data").as_array().size(); }
  std::size_t admin_keys() { return done("GET", "/admin_api_keys").at("data").as_array().size(); }
  static void age_answers(const std::string& interval) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE idempotent_answer SET created_at = created_at - $1::interval", {interval});
    });
  }
};

TEST_F(IdempotencyTest, EveryCreateOfAnAdministratorIsMadeOnceForAKey) {
  const std::string alert = R"({"threshold_amount":5,"currency":"USD","interval":"month","notification_channel":)"
                            R"({"type":"email","recipients":["a@b.c"]}})";
  const std::string account = text(done("POST", project("/service_accounts"), R"({"name":"first"})").at("id"));
  const std::pair<std::string, std::string> creates[] = {
      {"/admin_api_keys", R"({"name":"k"})"},
      {"/projects", R"({"name":"p"})"},
      {project("/service_accounts"), R"({"name":"s"})"},
      {project("/service_accounts/") + account + "/api_keys", R"({"name":"k"})"},
      {project("/users"), R"({"email":"a@b.c","role":"member"})"},
      {"/spend_alerts", alert},
      {project("/spend_alerts"), alert}};
  for (const auto& [path, body] : creates) {
    const std::vector<std::string> key{"Idempotency-Key: " + path};
    const Answer first = post(tenant_.admin_key, org(path), body, key);
    ASSERT_EQ(first.status, 200) << path << ": " << first.body;
    const std::size_t audits = audited().size();
    const Answer again = post(tenant_.admin_key, org(path), body, key);
    EXPECT_EQ(again.status, 200) << path << ": " << again.body;
    EXPECT_EQ(again.json(), first.json()) << path;
    EXPECT_EQ(audited().size(), audits) << path << " happened once";
  }
}

/// Exports, permissions, uploads, files, credits and what is done to an endpoint did not know the header.
TEST_F(IdempotencyTest, EveryCreateAndActOfTheMatrixIsDoneOnceForAKey) {
  const std::set<std::string> once{"POST /v1/files", "POST /v1/uploads", "POST /v1/fine_tuning/jobs", "POST /v1/models/{model}/export",
                                   "POST /v1/webhook_endpoints", "POST /v1/webhook_endpoints/{webhook_endpoint_id}/rotate_secret",
                                   "POST /v1/webhook_endpoints/{webhook_endpoint_id}/test",
                                   "POST /v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions",
                                   "POST /v1/organization/projects/{project_id}/credits"};
  std::size_t walked = 0;
  for (const MatrixEntry& entry : route_matrix()) {
    if (!once.contains(entry.route)) continue;
    ++walked;
    const Estate estate = make_estate(gateway_->port());
    const bool admin = entry.path().ends_with("/permissions") || entry.path().ends_with("/credits");
    const auto ask = [&](const std::string& body, const std::vector<std::string>& headers) {
      Call request;
      request.method = "POST";
      request.path = entry.path_of(estate);
      request.key = admin ? estate.tenant.admin_key : estate.tenant.key;
      request.body = body;
      if (entry.form) request.content_type = kMultipart;
      request.headers = headers;
      return call(gateway_->port(), request);
    };
    const std::string body = estate.fill(entry.body);
    const Answer first = ask(body, kOnce);
    ASSERT_EQ(first.status, entry.status) << entry.route << first.body;
    const std::string after_one = hash_of_rows();
    const std::size_t objects = gateway_->stored_objects();
    const Answer again = ask(body, kOnce);
    EXPECT_EQ(again.status, first.status) << entry.route << again.body;
    EXPECT_EQ(again.json(), first.json()) << entry.route;
    EXPECT_EQ(hash_of_rows(), after_one) << entry.route << " was done twice";
    EXPECT_TRUE(soon([&] { return gateway_->stored_objects() == objects; })) << entry.route;
    const std::string other = entry.form ? multipart({field_part("purpose", "user_data"), file_part("a", "abd")})
                                         : body.substr(0, body.size() - 1) + (body == "{}" ? "" : ",") + "\"more\":1}";
    const Answer reused = ask(other, kOnce);
    EXPECT_EQ(reused.status, 422) << entry.route << reused.body;
    EXPECT_EQ(hash_of_rows(), after_one) << entry.route;
    EXPECT_TRUE(soon([&] { return gateway_->stored_objects() == objects; })) << entry.route;
  }
  EXPECT_EQ(walked, once.size());
}

TEST_F(IdempotencyTest, ARetriedUploadIsTheSameFileHoweverItsFormIsCut) {
  const auto upload = [&](const std::string& boundary, const std::vector<std::string>& headers) {
    Call request;
    request.method = "POST";
    request.path = "/v1/files";
    request.key = tenant_.key;
    request.content_type = "multipart/form-data; boundary=" + boundary;
    request.headers = headers;
    for (const std::string& part : {field_part("purpose", "user_data"), file_part("a", "abc")})
      request.body += "--" + boundary + "\r\n" + part + "\r\n";
    request.body += "--" + boundary + "--\r\n";
    return text(call(gateway_->port(), request).json().at("id"));
  };
  const std::string first = upload("one", {});
  EXPECT_EQ(upload("two", kRetry), first);
  const std::string second = upload("one", {});
  EXPECT_NE(second, first) << "two first tries make two";
  EXPECT_EQ(send("DELETE", "/v1/files/" + second).status, 200);
  const std::string third = upload("one", kRetry);
  EXPECT_NE(third, second) << "it is gone: this is another request";
  EXPECT_EQ(get("/v1/files/" + third).status, 200);
}

TEST_F(IdempotencyTest, ARetriedExportThatFailedIsAskedForAnew) {
  const Estate estate = make_estate(gateway_->port());
  const std::string path = "/v1/models/" + estate.id("model") + "/export", body = R"({"format":"merged"})";
  const Answer first = post(estate.tenant.key, path, body, {});
  ASSERT_EQ(first.status, 202) << first.body;
  EXPECT_EQ(post(estate.tenant.key, path, body, kRetry).status, 202) << "as it was answered before";
  pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("UPDATE model_export SET status = 'failed', error_code = 'e', finished_at = clock_timestamp() WHERE id = $1",
               {text(first.json().at("id"))});
  });
  EXPECT_EQ(post(estate.tenant.key, path, body, kRetry).json().at("status"), "queued");
  EXPECT_EQ(send_as(estate.tenant.key, "GET", path + "s/" + text(first.json().at("id"))).json().at("status"), "queued");
}

TEST_F(IdempotencyTest, ARepeatedWebhookEndpointIsTheSameWithItsSecret) {
  const Answer first = post(tenant_.key, kHooks, kHook, kOnce);
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(post(tenant_.key, kHooks, kHook, kOnce).json(), first.json());
  EXPECT_EQ(post(tenant_.key, kHooks, kHook, kRetry).status, 200) << "without the key it is another request";
  EXPECT_EQ(hooks(), 2u);
  const Tenant other = make_tenant();
  const Answer theirs = post(other.key, kHooks, kHook, kOnce);
  ASSERT_EQ(theirs.status, 200) << theirs.body;
  EXPECT_NE(theirs.json().at("id"), first.json().at("id")) << "a key is its project's own";
}

TEST_F(IdempotencyTest, WithoutAKeyOnlyARetryFindsTheAnswer) {
  const Answer first = post(tenant_.admin_key, kKeys, R"({"name":"a"})", {});
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(post(tenant_.admin_key, kKeys, R"({"name":"a"})", kRetry).json(), first.json());
  const std::size_t before = admin_keys();
  EXPECT_NE(post(tenant_.admin_key, kKeys, R"({"name":"a"})", {}).json().at("id"), first.json().at("id"));
  EXPECT_EQ(admin_keys(), before + 1) << "two first tries make two";
  age_answers("11 minutes");
  EXPECT_EQ(post(tenant_.admin_key, kKeys, R"({"name":"a"})", kRetry).status, 200);
  EXPECT_EQ(admin_keys(), before + 2) << "a retry looks back ten minutes";
}

TEST_F(IdempotencyTest, AKeyIsBoundToItsRequestForADay) {
  const Answer first = post(tenant_.admin_key, kKeys, R"({"name":"a"})", kOnce);
  ASSERT_EQ(first.status, 200) << first.body;
  const Answer body = post(tenant_.admin_key, kKeys, R"({"name":"b"})", kOnce);
  EXPECT_EQ(body.status, 422) << body.body;
  EXPECT_EQ(body.code(), "idempotency_key_reused");
  EXPECT_EQ(body.param(), "Idempotency-Key");
  EXPECT_EQ(post(tenant_.admin_key, org("/projects"), R"({"name":"a"})", kOnce).code(), "idempotency_key_reused");
  age_answers("25 hours");
  const Answer later = post(tenant_.admin_key, kKeys, R"({"name":"b"})", kOnce);
  ASSERT_EQ(later.status, 200) << later.body;
  EXPECT_NE(later.json().at("id"), first.json().at("id"));
  const std::string longest(255, 'k');
  EXPECT_EQ(post(tenant_.admin_key, kKeys, R"({"name":"c"})", {"Idempotency-Key: " + longest}).status, 200);
  const Answer longer = post(tenant_.admin_key, kKeys, R"({"name":"c"})", {"Idempotency-Key: " + longest + "k"});
  EXPECT_EQ(longer.status, 400) << longer.body;
  EXPECT_EQ(longer.param(), "Idempotency-Key");
}

/// Jobs remember their keys apart from everything else: the key of one made a webhook endpoint, and the other way round.
TEST_F(IdempotencyTest, AJobsKeyMakesNothingElse) {
  give_credit(pool(), tenant_.project, 1'000'000'000);
  const auto base = make_base_model(pool());
  const auto file = make_counted_file(pool(), tenant_.project, base, std::vector<std::uint32_t>(20, 10));
  const std::string job = R"({"model":")" + base.name + R"(","training_file":")" + file.id + "\"}";
  const std::string jobs = "/v1/fine_tuning/jobs";
  const std::vector<std::string> first{"Idempotency-Key: of-a-job"}, second{"Idempotency-Key: of-a-hook"};
  EXPECT_EQ(post(tenant_.key, jobs, job, first).status, 200);
  EXPECT_EQ(post(tenant_.key, kHooks, kHook, second).status, 200);
  EXPECT_EQ(post(tenant_.key, kHooks, kHook, first).code(), "idempotency_key_reused");
  EXPECT_EQ(post(tenant_.key, jobs, job, second).code(), "idempotency_key_reused");
  EXPECT_EQ(hooks(), 1u);
  EXPECT_EQ(get(jobs).json().at("data").as_array().size(), 1u);
  EXPECT_EQ(post(tenant_.key, jobs, job, first).status, 200);
  EXPECT_EQ(post(tenant_.key, kHooks, kHook, second).status, 200);
}

TEST_F(IdempotencyTest, ARefusedRequestKeepsNoAnswer) {
  EXPECT_EQ(post(tenant_.admin_key, kKeys, R"({"name":""})", kOnce).status, 400);
  EXPECT_EQ(post(tenant_.admin_key, kKeys, R"({"name":"good"})", kOnce).status, 200);
}

TEST_F(IdempotencyTest, OfTheSameRequestAtOnceOneIsCarriedOut) {
  std::mutex mutex;
  std::set<std::string> made;
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < 6; ++i)
      clients.emplace_back([&] {
        const Answer answer = post(tenant_.key, kHooks, kHook, kOnce);
        const std::lock_guard lock(mutex);
        if (answer.status == 200)
          made.insert(text(answer.json().at("id")));
        else
          EXPECT_EQ(answer.code(), "request_in_progress") << answer.body;
      });
  }
  EXPECT_EQ(made.size(), 1u);
  EXPECT_EQ(hooks(), 1u);
}

TEST_F(IdempotencyTest, TheSecretsInAnswersAreSealed) {
  const std::string secret = text(post(tenant_.key, kHooks, kHook, kOnce).json().at("secret"));
  const std::string value = text(post(tenant_.admin_key, kKeys, R"({"name":"a"})", kOnce).json().at("value"));
  const auto seen = [&](const Scope& scope, const std::string& needle) {
    return pool().transact(scope, [&](Transaction& tx) {
      const auto rows = tx.execute("SELECT count(*) AS n, coalesce(bool_or(position($2::bytea IN sealed_answer) > 0), false) AS"
                                   " plain FROM idempotent_answer WHERE organization_id = $1",
                                   {tenant_.project.organization_id, postgres::Value::bytes(needle)});
      EXPECT_FALSE(rows.row(0).boolean("plain"));
      return rows.row(0).integer("n");
    });
  };
  EXPECT_EQ(seen(Scope::system(), secret), 2);
  EXPECT_EQ(seen(Scope::system(), value), 2);
  EXPECT_EQ(seen(Scope::project(tenant_.project.id), secret), 1) << "an administrator's answers are out of a project's sight";
  EXPECT_EQ(seen(Scope::project(make_tenant().project.id), secret), 0);
}

}  // namespace
}  // namespace finetuned::tests
