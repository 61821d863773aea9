#include <gmock/gmock.h>

#include "base/base64.h"
#include "storage/webhook_leases.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

constexpr const char* kUrl = R"({"url":"https://hooks.example.com/a"})";

class WebhookEndpointsTest : public GatewayTest {
 protected:
  json::value create(const std::string& body = kUrl) {
    const Answer answer = send("POST", "/v1/webhook_endpoints", body);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return answer.json();
  }
  std::string create_id() { return path_of(create()); }
  static std::string path_of(const json::value& endpoint) { return "/v1/webhook_endpoints/" + text(endpoint.at("id")); }
  static std::vector<std::string> keys(const json::value& shape) {
    std::vector<std::string> names;
    for (const auto& [name, value] : shape.as_object()) names.emplace_back(name);
    return names;
  }
};

TEST_F(WebhookEndpointsTest, AnEndpointIsMadeAndItsSecretShownOnce) {
  const json::value made = create();
  EXPECT_THAT(keys(made), testing::UnorderedElementsAre("object", "id", "created_at", "url", "events", "description", "enabled",
                                                        "disabled_reason", "secret"));
  EXPECT_EQ(made.at("object"), "webhook_endpoint");
  EXPECT_EQ(made.at("url"), "https://hooks.example.com:443/a");
  EXPECT_EQ(made.at("events").as_array().size(), 3u);
  EXPECT_TRUE(made.at("description").is_null());
  EXPECT_EQ(made.at("enabled"), true);
  const std::string secret = text(made.at("secret"));
  ASSERT_TRUE(secret.starts_with("whsec_"));
  const auto bytes = base::base64_decode(secret.substr(6));
  ASSERT_TRUE(bytes);
  EXPECT_EQ(bytes->size(), 32u);
  const json::value got = get(path_of(made)).json();
  EXPECT_FALSE(got.as_object().contains("secret"));
  EXPECT_EQ(got.at("created_at"), made.at("created_at"));
  const json::value list = get("/v1/webhook_endpoints").json();
  ASSERT_EQ(list.at("data").as_array().size(), 1u);
  EXPECT_EQ(list.at("data").at(0), got);
  pool().transact(Scope::system(), [&](Transaction& tx) {
    const auto row = tx.execute("SELECT sealed_secret FROM webhook_endpoint WHERE id = $1", {text(made.at("id"))});
    EXPECT_EQ(row.row(0).bytes("sealed_secret").find(*bytes), std::string::npos) << "the secret lies open in the database";
  });
}

TEST_F(WebhookEndpointsTest, EachChangeIsInTheAuditLogWithoutItsSecrets) {
  const json::value made = create(R"({"url":"https://hooks.example.com/a?token=hidden","events":["fine_tuning.job.failed"]})");
  const std::string id = text(made.at("id")), path = path_of(made);
  send("POST", path, R"({"enabled":false,"description":"off"})");
  send("POST", path, "{}");
  send("POST", path, R"({"url":"http://plain.example.com"})");
  const json::value rotated = send("POST", path + "/rotate_secret", "").json();
  send("DELETE", path, "");
  send("DELETE", path, "");
  const Answer log = send_as(tenant_.admin_key, "GET", "/v1/organization/audit_logs?order=asc&resource_ids[]=" + id);
  ASSERT_EQ(log.status, 200) << log.body;
  std::vector<std::string> types;
  const json::value list = log.json();
  for (const json::value& entry : list.at("data").as_array()) {
    types.push_back(text(entry.at("type")));
    EXPECT_EQ(text(entry.at("project").at("id")), tenant_.project.id);
    EXPECT_TRUE(entry.at("actor").is_object());
  }
  EXPECT_THAT(types, testing::ElementsAre("webhook_endpoint.created", "webhook_endpoint.updated", "webhook_endpoint.secret_rotated",
                                          "webhook_endpoint.deleted"));
  EXPECT_EQ(list.at("data").at(0).at("webhook_endpoint.created"),
            (json::value{{"id", id}, {"data", {{"host", "hooks.example.com:443"}, {"events", {"fine_tuning.job.failed"}}}}}));
  EXPECT_EQ(list.at("data").at(1).at("webhook_endpoint.updated"),
            (json::value{{"id", id}, {"changes_requested", {{"description", "off"}, {"enabled", false}}}}));
  for (const std::string& secret : {std::string("hidden"), text(made.at("secret")), text(rotated.at("secret"))})
    EXPECT_EQ(log.body.find(secret), std::string::npos);
}

TEST_F(WebhookEndpointsTest, AnotherEndpointsDeliveryIsNoPlaceInTheList) {
  const std::string mine = create_id(), other = create_id();
  const std::string delivery = text(send("POST", other + "/test", "").json().at("id"));
  EXPECT_EQ(get(other + "/deliveries?after=" + delivery).status, 200);
  EXPECT_EQ(get(mine + "/deliveries?after=" + delivery).code(), "invalid_cursor");
}

TEST_F(WebhookEndpointsTest, ListsPage) {
  const std::string first = text(create().at("id")), second = text(create().at("id"));
  const json::value page = get("/v1/webhook_endpoints?limit=1").json();
  EXPECT_EQ(text(page.at("first_id")), second);
  EXPECT_EQ(page.at("has_more"), true);
  EXPECT_EQ(text(get("/v1/webhook_endpoints?after=" + second).json().at("last_id")), first);
  EXPECT_EQ(get("/v1/webhook_endpoints?limit=101").param(), "limit");
  EXPECT_EQ(get("/v1/webhook_endpoints?after=we-none").code(), "invalid_cursor");
}

TEST_F(WebhookEndpointsTest, AnUpdateChangesWhatItNames) {
  const std::string path = path_of(create(R"({"url":"https://a.example/","events":["fine_tuning.job.failed"],"description":"x"})"));
  json::value after = send("POST", path, R"({"enabled":false})").json();
  EXPECT_EQ(after.at("enabled"), false);
  EXPECT_EQ(after.at("disabled_reason"), "disabled by the project");
  EXPECT_EQ(after.at("description"), "x");
  EXPECT_EQ(after.at("events").as_array().size(), 1u);
  after = send("POST", path, R"({"url":"https://b.example:8443/c","description":null,"enabled":true,)"
                             R"("events":["fine_tuning.job.succeeded","fine_tuning.job.cancelled"]})").json();
  EXPECT_EQ(after.at("url"), "https://b.example:8443/c");
  EXPECT_TRUE(after.at("description").is_null());
  EXPECT_EQ(after.at("enabled"), true);
  EXPECT_TRUE(after.at("disabled_reason").is_null());
  EXPECT_EQ(after.at("events").at(0), "fine_tuning.job.cancelled");
  EXPECT_EQ(get(path).json(), after);
}

TEST_F(WebhookEndpointsTest, ADeletedEndpointIsGone) {
  const std::string path = create_id();
  EXPECT_EQ(send("POST", path + "/test").status, 200);
  const Answer deleted = send("DELETE", path);
  ASSERT_EQ(deleted.status, 200) << deleted.body;
  EXPECT_EQ(deleted.json().at("object"), "webhook_endpoint");
  EXPECT_EQ(deleted.json().at("deleted"), true);
  EXPECT_EQ(get(path).code(), "webhook_endpoint_not_found");
  EXPECT_EQ(send("DELETE", path).status, 404);
}

TEST_F(WebhookEndpointsTest, ARotatedSecretIsAnother) {
  const json::value made = create();
  const Answer rotated = send("POST", path_of(made) + "/rotate_secret");
  ASSERT_EQ(rotated.status, 200) << rotated.body;
  EXPECT_TRUE(text(rotated.json().at("secret")).starts_with("whsec_"));
  EXPECT_NE(rotated.json().at("secret"), made.at("secret"));
}

TEST_F(WebhookEndpointsTest, ATestIsQueuedAndListedUntilThenNoOther) {
  const std::string path = create_id();
  const Answer queued = send("POST", path + "/test");
  ASSERT_EQ(queued.status, 200) << queued.body;
  const json::value test = queued.json();
  EXPECT_THAT(keys(test), testing::UnorderedElementsAre("object", "id", "event_id", "type", "status", "attempts", "last_status",
                                                        "last_error", "last_answer", "next_attempt_at", "created_at",
                                                        "delivered_at"));
  EXPECT_EQ(test.at("type"), "webhook_endpoint.test");
  EXPECT_EQ(test.at("status"), "pending");
  EXPECT_TRUE(text(test.at("event_id")).starts_with("evt_"));
  const Answer again = send("POST", path + "/test");
  EXPECT_EQ(again.status, 409);
  EXPECT_EQ(again.code(), "webhook_test_pending");
  EXPECT_EQ(again.header("x-should-retry"), "false");
  const json::value list = get(path + "/deliveries").json();
  ASSERT_EQ(list.at("data").as_array().size(), 1u);
  EXPECT_EQ(list.at("data").at(0), test);
  EXPECT_EQ(get(path + "/deliveries?limit=0").param(), "limit");
  pool().transact(Scope::system(), [](Transaction& tx) {
    tx.execute("UPDATE webhook_delivery SET state = 'delivered', next_attempt_at = NULL, delivered_at = clock_timestamp()");
    tx.execute("INSERT INTO webhook_delivery (id, endpoint_id, project_id, event_id, type, body, state, next_attempt_at)"
               " SELECT id || n, endpoint_id, project_id, event_id || n, type, body, 'given_up', NULL"
               " FROM webhook_delivery, generate_series(1, 59) n");
  });
  const Answer too_many = send("POST", path + "/test");
  EXPECT_EQ(too_many.status, 429);
  EXPECT_EQ(too_many.code(), "rate_limit_exceeded");
}

TEST_F(WebhookEndpointsTest, ADisabledEndpointIsNotTested) {
  const std::string path = create_id();
  send("POST", path, R"({"enabled":false})");
  const Answer answer = send("POST", path + "/test");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.code(), "webhook_endpoint_disabled");
}

TEST_F(WebhookEndpointsTest, TheTwentyFirstIsRefused) {
  for (int i = 0; i < 20; ++i) create();
  const Answer answer = send("POST", "/v1/webhook_endpoints", kUrl);
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.code(), "too_many_webhook_endpoints");
  const json::value list = get("/v1/webhook_endpoints?limit=100").json();
  EXPECT_EQ(list.at("data").as_array().size(), 20u);
}

TEST_F(WebhookEndpointsTest, BadBodiesAreRefusedNamingTheField) {
  const std::string path = create_id();
  const std::string url = R"("url":"https://a.example/")";
  const std::string long_text(257, 'x');
  for (const auto& [body, param, code] : std::vector<std::array<std::string, 3>>{
           {"{}", "url", "missing_required_parameter"},
           {R"({"url":7})", "url", "invalid_value"},
           {R"({"url":"http://a.example/"})", "url", "invalid_value"},
           {R"({"url":"https://u:p@a.example/"})", "url", "invalid_value"},
           {R"({"url":"https://a.example/#x"})", "url", "invalid_value"},
           {R"({"url":"https://2130706433/"})", "url", "invalid_value"},
           {"{" + url + R"(,"events":[]})", "events", "invalid_value"},
           {"{" + url + R"(,"events":"fine_tuning.job.failed"})", "events", "invalid_value"},
           {"{" + url + R"(,"events":["batch.failed"]})", "events", "invalid_value"},
           {"{" + url + R"(,"events":[1]})", "events", "invalid_value"},
           {"{" + url + R"(,"events":["fine_tuning.job.failed","fine_tuning.job.failed"]})", "events", "invalid_value"},
           {"{" + url + R"(,"description":1})", "description", "invalid_value"},
           {"{" + url + R"(,"description":")" + long_text + "\"}", "description", "invalid_value"},
           {"{" + url + R"(,"enabled":true})", "enabled", "unknown_parameter"},
           {"{" + url + R"(,"secret":"mine"})", "secret", "unknown_parameter"}}) {
    const Answer answer = send("POST", "/v1/webhook_endpoints", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(answer.param(), param) << body;
    EXPECT_EQ(answer.code(), code) << body;
  }
  EXPECT_EQ(send("POST", path, R"({"enabled":"yes"})").param(), "enabled");
  EXPECT_EQ(send("POST", path, R"({"url":null})").param(), "url");
  EXPECT_EQ(send("POST", path, "[]").code(), "invalid_json");
}

TEST_F(WebhookEndpointsTest, AnotherProjectSeesNothing) {
  const std::string path = create_id();
  ASSERT_EQ(send("POST", path + "/test").status, 200);
  const Tenant stranger = make_tenant();
  for (const auto& [method, rest, body] : std::vector<std::array<std::string, 3>>{
           {"GET", "", ""}, {"POST", "", R"({"enabled":false})"}, {"DELETE", "", ""}, {"POST", "/rotate_secret", ""},
           {"GET", "/deliveries", ""}, {"POST", "/test", ""}}) {
    const Answer answer = send_as(stranger.key, method, path + rest, body);
    EXPECT_EQ(answer.status, 404) << method << " " << rest;
    EXPECT_EQ(answer.code(), "webhook_endpoint_not_found") << method << " " << rest;
    EXPECT_EQ(send_as(tenant_.admin_key, method, path + rest, body).status, 403) << method << " " << rest;
  }
  const json::value list = send_as(stranger.key, "GET", "/v1/webhook_endpoints").json();
  EXPECT_TRUE(list.at("data").as_array().empty());
  EXPECT_EQ(get(path).json().at("enabled"), true);
  EXPECT_EQ(get("/v1/webhook_endpoints/we-x'--").status, 404);
}

}  // namespace
}  // namespace finetuned::tests
