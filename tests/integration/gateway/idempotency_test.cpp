#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "tests/integration/gateway/admin_fixture.h"
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
