#include <ctime>

#include "storage/quota_store.h"
#include "storage/rate_limit_store.h"
#include "tests/integration/gateway/admin_fixture.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using Types = std::vector<std::string>;

constexpr const char* kAlert =
    R"({"threshold_amount":500,"currency":"USD","interval":"month","notification_channel":)"
    R"({"type":"email","recipients":["a@b.c","d@e.f"]}})";

class LimitsTest : public AdminTest {};

TEST_F(LimitsTest, EveryRegisteredModelHasARateLimitThatAProjectMayDifferIn) {
  const std::string one = make_base_model(pool()).name, two = make_base_model(pool()).name;
  const json::value all = done("GET", project("/rate_limits?after=rl-" + one));
  ASSERT_EQ(ids(all), Types{"rl-" + two});
  const json::value& usual = all.at("data").at(0);
  EXPECT_EQ(usual.at("object"), "project.rate_limit");
  EXPECT_EQ(text(usual.at("model")), two);
  EXPECT_EQ(usual.at("max_requests_per_1_minute"), storage::kDefaultRequestsPerMinute);
  EXPECT_EQ(usual.at("max_tokens_per_1_minute"), storage::kDefaultTokensPerMinute);
  EXPECT_FALSE(usual.as_object().contains("max_requests_per_1_day"));
  EXPECT_EQ(ids(done("GET", project("/rate_limits?limit=1&before=rl-" + two))), Types{"rl-" + one});

  const std::string path = project("/rate_limits/rl-" + two);
  done("POST", path, R"({"max_requests_per_1_minute":7,"model":"x","id":"y"})");
  const json::value changed = done("POST", path, R"({"max_requests_per_1_day":0})");
  EXPECT_EQ(changed.at("max_requests_per_1_minute"), 7);
  EXPECT_EQ(changed.at("max_requests_per_1_day"), 0);
  EXPECT_EQ(text(changed.at("model")), two);
  EXPECT_EQ(done("POST", path, "{}"), changed);
  EXPECT_EQ(audited(), (Types{"rate_limit.updated", "rate_limit.updated"}));
  // As whoever enforces them will read them.
  const auto read = [&](const storage::Project& whose, const Scope& scope) {
    return pool().transact(scope, [&](Transaction& tx) { return storage::RateLimitStore(tx, whose.id).find(two)->limits[0]; });
  };
  EXPECT_EQ(read(tenant_.project, Scope::project(tenant_.project.id)), 7);
  const Tenant other = make_tenant();
  EXPECT_EQ(read(other.project, Scope::project(other.project.id)), storage::kDefaultRequestsPerMinute);
  EXPECT_EQ(read(tenant_.project, Scope::project(other.project.id)), storage::kDefaultRequestsPerMinute)
      << "another project's scope sees none of it";
}

TEST_F(LimitsTest, RateLimitsAreChecked) {
  const std::string path = project("/rate_limits/rl-" + make_base_model(pool()).name);
  for (const char* name : storage::kRateLimitNames)
    for (const char* wrong : {"-1", "1.5", "\"1\"", "1000000000001"})
      expect_refused("POST", path, name, {std::string("{\"") + name + "\":" + wrong + "}"});
  for (const char* id : {"rl-none", "none", "rl-"})
    EXPECT_EQ(admin("POST", project("/rate_limits/") + id, R"({"max_requests_per_1_minute":1})").code(), "rate_limit_not_found");
  EXPECT_EQ(admin("GET", project("/rate_limits?after=rl-a&before=rl-b")).param(), "before");
  EXPECT_EQ(admin("GET", project("/rate_limits?after=rl-none")).code(), "invalid_cursor");
}

TEST_F(LimitsTest, SpendLimitsOfProjectAndOrganizationStandApart) {
  const std::string body = R"({"threshold_amount":1000,"currency":"USD","interval":"month","enforcement":{"status":"enforcing"}})";
  for (const auto& [path, object] : {std::pair{std::string("/spend_limit"), std::string("organization.spend_limit")},
                                     std::pair{project("/spend_limit"), std::string("project.spend_limit")}}) {
    for (const char* method : {"GET", "DELETE"}) EXPECT_EQ(admin(method, path).code(), "spend_limit_not_found");
    const json::value set = done("POST", path, body);
    EXPECT_EQ(set, (json::value{{"object", object}, {"threshold_amount", 1000}, {"currency", "USD"}, {"interval", "month"},
                                {"enforcement", json::object{{"status", "inactive"}}}}));
    EXPECT_EQ(done("GET", path), set);
  }
  done("POST", "/spend_limit", R"({"threshold_amount":5,"currency":"USD","interval":"month"})");
  EXPECT_EQ(done("GET", "/spend_limit").at("threshold_amount"), 5);
  EXPECT_EQ(done("DELETE", "/spend_limit"), (json::value{{"object", "organization.spend_limit.deleted"}, {"deleted", true}}));
  EXPECT_EQ(admin("GET", "/spend_limit").status, 404);
  EXPECT_EQ(done("GET", project("/spend_limit")).at("threshold_amount"), 1000);
  const Tenant other = make_tenant();
  EXPECT_EQ(send_as(other.admin_key, "GET", "/v1/organization/spend_limit").status, 404);
  EXPECT_EQ(audited(), (Types{"spend_limit.updated", "spend_limit.updated", "spend_limit.updated", "spend_limit.deleted"}));
  for (const std::string& path : {std::string("/spend_limit"), project("/spend_limit")}) {
    expect_refused("POST", path, "threshold_amount", {"{}", R"({"threshold_amount":0,"currency":"USD","interval":"month"})"});
    expect_refused("POST", path, "currency", {R"({"threshold_amount":1,"interval":"month"})",
                                              R"({"threshold_amount":1,"currency":"EUR","interval":"month"})"});
    expect_refused("POST", path, "interval", {R"({"threshold_amount":1,"currency":"USD","interval":"day"})"});
  }
}

TEST_F(LimitsTest, SpendAlertsOfProjectAndOrganizationStandApart) {
  const Tenant other = make_tenant();
  for (const auto& [path, kind] : {std::pair{std::string("/spend_alerts"), std::string("organization.spend_alert")},
                                   std::pair{project("/spend_alerts"), std::string("project.spend_alert")}}) {
    const json::value made = done("POST", path, kAlert);
    EXPECT_EQ(text(made.at("object")), kind);
    EXPECT_EQ(made.at("threshold_amount"), 500);
    EXPECT_EQ(made.at("notification_channel").at("recipients"), (json::value{"a@b.c", "d@e.f"}));
    EXPECT_TRUE(made.at("notification_channel").at("subject_prefix").is_null());
    const std::string first = text(made.at("id")), one = path + "/" + first;
    const std::string second = text(done("POST", path, kAlert).at("id"));
    EXPECT_EQ(ids(done("GET", path)), (Types{first, second})) << "oldest first, and none of the other's";
    EXPECT_EQ(ids(done("GET", path + "?before=" + second)), Types{first});
    EXPECT_EQ(ids(done("GET", path + "?order=desc&after=" + second)), Types{first});
    const json::value none = done("GET", path + "?limit=0");
    EXPECT_TRUE(ids(none).empty() && none.at("first_id").is_null());
    EXPECT_EQ(none.at("has_more"), true);
    EXPECT_EQ(done("POST", one, R"({"threshold_amount":0,"currency":"USD","interval":"month","id":"x","notification_channel":)"
                                R"({"type":"email","recipients":["x@y"],"subject_prefix":"[spend]"}})").at("threshold_amount"), 0);
    EXPECT_EQ(done("GET", one).at("notification_channel").at("subject_prefix"), "[spend]");
    EXPECT_EQ(done("DELETE", one), (json::value{{"id", first}, {"object", kind + ".deleted"}, {"deleted", true}}));
    for (const char* method : {"GET", "DELETE"}) EXPECT_EQ(admin(method, one).code(), "spend_alert_not_found");
    EXPECT_EQ(admin("POST", one, kAlert).status, 404);
    EXPECT_EQ(send_as(other.admin_key, "GET", "/v1/organization/spend_alerts/" + second).status, 404);
  }
  EXPECT_EQ(audited().size(), 8u);
}

TEST_F(LimitsTest, SpendAlertsAreChecked) {
  const auto alert = [](const std::string& channel) {
    return R"({"threshold_amount":1,"currency":"USD","interval":"month","notification_channel":)" + channel + "}";
  };
  expect_refused("POST", "/spend_alerts", "threshold_amount", {"{}", R"({"threshold_amount":-1})"});
  expect_refused("POST", "/spend_alerts", "notification_channel", {alert("null"), alert("[]")});
  expect_refused("POST", "/spend_alerts", "notification_channel.type", {alert("{}"), alert(R"({"type":"sms"})")});
  expect_refused("POST", "/spend_alerts", "notification_channel.recipients",
                 {alert(R"({"type":"email"})"), alert(R"({"type":"email","recipients":[]})"),
                  alert(R"({"type":"email","recipients":["x"]})"), alert(R"({"type":"email","recipients":[1]})")});
  expect_refused("POST", "/spend_alerts", "notification_channel.subject_prefix",
                 {alert(R"({"type":"email","recipients":["a@b"],"subject_prefix":5})")});
  EXPECT_TRUE(ids(done("GET", "/spend_alerts")).empty());
  EXPECT_EQ(admin("GET", "/spend_alerts?limit=-1").param(), "limit");
}

TEST_F(LimitsTest, QuotasAreReplacedWhole) {
  const json::value used = {{"queued_jobs", 0}, {"running_jobs", 0}, {"storage_bytes", 0}, {"tokens_per_month", 0},
                            {"upload_bytes_per_day", 0}};
  const auto without_limits = [](json::value shape) {  // QuotasTest.EveryLimitIsSeenWithItsUse
    EXPECT_EQ(shape.as_object().erase("limits"), 1u);
    return shape;
  };
  const json::value day_ends = done("GET", project("/quotas")).at("day_ends_at");
  EXPECT_LE(day_ends.as_int64(), std::time(nullptr) + 86400);
  const json::value month_ends = done("GET", project("/quotas")).at("month_ends_at");
  EXPECT_GT(month_ends.as_int64(), std::time(nullptr));
  EXPECT_LE(month_ends.as_int64(), std::time(nullptr) + 31 * 86400);
  const json::value none = {{"object", "organization.project.quotas"}, {"queued_jobs", nullptr}, {"running_jobs", nullptr},
                            {"storage_bytes", nullptr}, {"tokens_per_month", nullptr}, {"upload_bytes_per_day", nullptr},
                            {"share_weight", 1}, {"used", used}, {"day_ends_at", day_ends}, {"month_ends_at", month_ends}};
  EXPECT_EQ(without_limits(done("GET", project("/quotas"))), none);
  const json::value put = without_limits(
      done("PUT", project("/quotas"),
           R"({"queued_jobs":0,"running_jobs":2,"storage_bytes":1000000000000,"upload_bytes_per_day":7,"share_weight":5,"project_id":"x"})"));
  EXPECT_EQ(put, (json::value{{"object", "organization.project.quotas"}, {"queued_jobs", 0}, {"running_jobs", 2},
                              {"storage_bytes", 1000000000000}, {"tokens_per_month", nullptr}, {"upload_bytes_per_day", 7},
                              {"share_weight", 5}, {"used", used}, {"day_ends_at", day_ends}, {"month_ends_at", month_ends}}));
  EXPECT_EQ(without_limits(done("GET", project("/quotas"))), put);
  const auto stored = pool().transact(Scope::project(tenant_.project.id), [&](Transaction& tx) {
    return storage::QuotaStore(tx).get(tenant_.project.id);
  });
  EXPECT_EQ(stored.running_jobs, 2);
  EXPECT_EQ(without_limits(done("PUT", project("/quotas"), R"({"running_jobs":null})")), none);
  expect_refused("PUT", project("/quotas"), "running_jobs", {R"({"running_jobs":-1})", R"({"running_jobs":"2"})"});
  expect_refused("PUT", project("/quotas"), "share_weight", {R"({"share_weight":0})", R"({"share_weight":1001})"});
  EXPECT_EQ(audited(), (Types{"quota.updated", "quota.updated"}));
}

}  // namespace
}  // namespace finetuned::tests
