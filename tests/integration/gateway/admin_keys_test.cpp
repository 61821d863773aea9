#include <thread>

#include "tests/integration/gateway/admin_fixture.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using Types = std::vector<std::string>;

class AdminKeysTest : public AdminTest {
 protected:
  int admin_status(const std::string& key) { return send_as(key, "GET", "/v1/organization/projects").status; }

  /// A new service account with its first key.
  json::value make_account(const std::string& name = "ci") {
    return done("POST", project("/service_accounts"), R"({"name":")" + name + "\"}");
  }
};

TEST_F(AdminKeysTest, AnAdminKeyIsShownOnceAndOpensUntilItIsDeleted) {
  const json::value made = done("POST", "/admin_api_keys", R"({"name":"ops","id":"key-mine","organization_id":"org-other"})");
  const std::string secret = text(made.at("value")), id = text(made.at("id"));
  EXPECT_TRUE(secret.starts_with("sk-ftadmin-"));
  EXPECT_NE(id, "key-mine");
  EXPECT_EQ(made.at("object"), "organization.admin_api_key");
  EXPECT_EQ(made.at("name"), "ops");
  EXPECT_TRUE(made.at("expires_at").is_null());
  EXPECT_TRUE(made.at("last_used_at").is_null());
  EXPECT_EQ(text(made.at("owner").at("id")), tenant_.project.organization_id);
  EXPECT_EQ(made.at("owner").at("role"), "owner");
  EXPECT_EQ(admin_status(secret), 200);

  const Answer again = admin("GET", "/admin_api_keys/" + id);
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(again.body.find(secret), std::string::npos);
  EXPECT_FALSE(again.json().as_object().contains("value"));
  EXPECT_TRUE(secret.starts_with(text(again.json().at("redacted_value")).substr(0, 15)));
  EXPECT_TRUE(again.json().at("last_used_at").is_int64());
  const Answer listed = admin("GET", "/admin_api_keys");
  EXPECT_EQ(listed.body.find(secret), std::string::npos);
  EXPECT_EQ(text(listed.json().at("last_id")), id) << "oldest first without an order";
  EXPECT_EQ(text(done("GET", "/admin_api_keys?order=desc").at("first_id")), id);

  const json::value deleted = done("DELETE", "/admin_api_keys/" + id);
  EXPECT_EQ(deleted, (json::value{{"id", id}, {"object", "organization.admin_api_key.deleted"}, {"deleted", true}}));
  EXPECT_EQ(admin_status(secret), 401);
  EXPECT_EQ(admin("GET", "/admin_api_keys/" + id).code(), "api_key_not_found");
  EXPECT_EQ(admin("DELETE", "/admin_api_keys/" + id).status, 404);
  EXPECT_EQ(audited(), (Types{"api_key.created", "api_key.deleted"}));
  EXPECT_EQ(admin("GET", "/audit_logs").body.find(secret), std::string::npos);
}

TEST_F(AdminKeysTest, AnAdminKeyOpensNothingAfterItHasExpired) {
  const json::value made = done("POST", "/admin_api_keys", R"({"name":"short","expires_in_seconds":1})");
  EXPECT_EQ(made.at("expires_at").as_int64(), made.at("created_at").as_int64() + 1);
  EXPECT_EQ(admin_status(text(made.at("value"))), 200);
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));  // by the database's clock the key lives for a second
  EXPECT_EQ(admin_status(text(made.at("value"))), 401);
  EXPECT_EQ(admin("GET", "/admin_api_keys/" + text(made.at("id"))).status, 200);
}

TEST_F(AdminKeysTest, AKeyDeletedThroughOneGatewayStopsAtOnceThereAndWithinASecondAtAnother) {
  const RunningGateway other;
  const auto status_at = [&](std::uint16_t port, const std::string& key) {
    Call request;
    request.path = "/v1/models";
    request.key = key;
    return call(port, request).status;
  };
  const json::value account = done("POST", project("/service_accounts"), R"({"name":"gone"})");
  const std::string key = text(account.at("api_key").at("value"));
  ASSERT_EQ(status_at(gateway_->port(), key), 200);
  done("DELETE", project("/service_accounts/") + text(account.at("id")));
  EXPECT_EQ(status_at(gateway_->port(), key), 401);

  const json::value second = done("POST", project("/service_accounts"), R"({"name":"gone too"})");
  const std::string second_key = text(second.at("api_key").at("value"));
  ASSERT_EQ(status_at(other.port(), second_key), 200);
  done("DELETE", project("/service_accounts/") + text(second.at("id")));
  const auto deleted = std::chrono::steady_clock::now();
  while (status_at(other.port(), second_key) == 200 && std::chrono::steady_clock::now() < deleted + std::chrono::seconds(5))
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_LT(std::chrono::steady_clock::now() - deleted, std::chrono::seconds(1));
}

TEST_F(AdminKeysTest, AdminKeysAreCheckedAndTheOrganizationsOwn) {
  expect_refused("POST", "/admin_api_keys", "name", {"{}", R"({"name":null})", R"({"name":""})", R"({"name":7})"});
  expect_refused("POST", "/admin_api_keys", "expires_in_seconds",
                 {R"({"name":"a","expires_in_seconds":0})", R"({"name":"a","expires_in_seconds":31536001})",
                  R"({"name":"a","expires_in_seconds":"1"})"});
  const Tenant other = make_tenant();
  const std::string id = text(done("POST", "/admin_api_keys", R"({"name":"ops"})").at("id"));
  const std::string path = "/v1/organization/admin_api_keys";
  EXPECT_EQ(send_as(other.admin_key, "GET", path + "/" + id).status, 404);
  EXPECT_EQ(send_as(other.admin_key, "DELETE", path + "/" + id).status, 404);
  EXPECT_EQ(send_as(other.admin_key, "GET", path).body.find(id), std::string::npos);
  EXPECT_EQ(send_as(other.admin_key, "GET", path + "?after=" + id).code(), "invalid_cursor");
  EXPECT_EQ(send("GET", path).code(), "insufficient_permissions");
  EXPECT_EQ(send_as("", "GET", path).status, 401);
  EXPECT_EQ(admin("GET", "/admin_api_keys/" + id).status, 200);
}

TEST_F(AdminKeysTest, AServiceAccountComesWithItsKeyAndTakesItAlong) {
  const json::value made = make_account();
  const std::string id = text(made.at("id")), secret = text(made.at("api_key").at("value"));
  EXPECT_EQ(made.at("object"), "organization.project.service_account");
  EXPECT_EQ(made.at("name"), "ci");
  EXPECT_EQ(made.at("role"), "member");
  EXPECT_EQ(made.at("api_key").at("object"), "organization.project.service_account.api_key");
  EXPECT_EQ(status_with(secret), 200);
  EXPECT_EQ(send_as(secret, "GET", "/v1/organization/projects").status, 403);

  const std::string path = project("/service_accounts/" + id);
  const json::value second = done("POST", path + "/api_keys", R"({"name":"deploy"})");
  EXPECT_EQ(second.at("name"), "deploy");
  const json::value third = done("POST", path + "/api_keys");
  for (const json::value& key : {second, third}) EXPECT_EQ(status_with(text(key.at("value"))), 200);
  EXPECT_EQ(admin("GET", path).body.find("sk-ft-"), std::string::npos);
  EXPECT_EQ(ids(done("GET", project("/service_accounts"))), Types{id});

  EXPECT_EQ(done("POST", path, R"({"name":"build","role":"owner","status":"x","project_id":"y"})").at("role"), "owner");
  EXPECT_EQ(done("GET", path).at("name"), "build");
  EXPECT_EQ(done("DELETE", path).at("object"), "organization.project.service_account.deleted");
  EXPECT_EQ(status_with(secret), 401);
  for (const json::value& key : {second, third}) EXPECT_EQ(status_with(text(key.at("value"))), 401);
  for (const char* method : {"GET", "DELETE"}) EXPECT_EQ(admin(method, path).code(), "service_account_not_found");
  EXPECT_EQ(admin("POST", path + "/api_keys").status, 404);
  EXPECT_EQ(status_with(tenant_.key), 200) << "the project's other keys stay";
  EXPECT_EQ(audited(), (Types{"service_account.created", "api_key.created", "api_key.created", "api_key.created",
                              "service_account.updated", "service_account.deleted"}));
}

TEST_F(AdminKeysTest, AServiceAccountWithoutAccessHasNoKeysUntilItGetsARole) {
  const json::value made =
      done("POST", project("/service_accounts"), R"({"name":"later","create_service_account_only":true})");
  EXPECT_EQ(made.at("role"), "none");
  EXPECT_TRUE(made.at("api_key").is_null());
  const std::string path = project("/service_accounts/" + text(made.at("id")));
  EXPECT_EQ(admin("POST", path + "/api_keys").code(), "service_account_without_access");
  done("POST", path, R"({"role":"member"})");
  EXPECT_EQ(status_with(text(done("POST", path + "/api_keys").at("value"))), 200);
}

TEST_F(AdminKeysTest, ServiceAccountsAreChecked) {
  const std::string all = project("/service_accounts");
  expect_refused("POST", all, "name", {"{}", R"({"name":""})", R"({"name":[]})"});
  expect_refused("POST", all, "create_service_account_only", {R"({"name":"a","create_service_account_only":"yes"})"});
  const std::string one = all + "/" + text(make_account().at("id"));
  expect_refused("POST", one, "role", {R"({"role":"none"})", R"({"role":"admin"})"});
  expect_refused("POST", one + "/api_keys", "scopes", {R"({"scopes":["model.read"]})", R"({"scopes":"all"})"});
  EXPECT_EQ(admin("POST", all, "[]").code(), "invalid_json");
}

TEST_F(AdminKeysTest, AProjectsKeysAreListedRedactedAndDeleted) {
  const json::value account = make_account();
  const json::value keys = done("GET", project("/api_keys"));
  ASSERT_EQ(keys.at("data").as_array().size(), 2u);
  const json::value& owned = keys.at("data").at(0);
  EXPECT_EQ(owned.at("object"), "organization.project.api_key");
  EXPECT_EQ(owned.at("owner").at("type"), "service_account");
  EXPECT_EQ(owned.at("owner").at("service_account").at("id"), account.at("id"));
  EXPECT_EQ(owned.at("owner_project_access"), "active");
  const json::value plain = keys.at("data").at(1);
  EXPECT_EQ(plain.at("owner"), json::object());
  EXPECT_TRUE(tenant_.key.starts_with(text(plain.at("redacted_value")).substr(0, 10)));
  EXPECT_TRUE(done("GET", project("/api_keys?owner_project_access=inactive")).at("data").as_array().empty());
  EXPECT_EQ(admin("GET", project("/api_keys?owner_project_access=all")).param(), "owner_project_access");

  const std::string path = project("/api_keys/" + text(plain.at("id")));
  EXPECT_EQ(done("GET", path).at("id"), plain.at("id"));
  EXPECT_EQ(status_with(tenant_.key), 200);
  EXPECT_EQ(done("DELETE", path).at("object"), "organization.project.api_key.deleted");
  EXPECT_EQ(status_with(tenant_.key), 401);
  EXPECT_EQ(admin("GET", path).code(), "api_key_not_found");
  EXPECT_EQ(admin("DELETE", project("/api_keys/" + text(owned.at("id")))).code(), "service_account_key");
  EXPECT_EQ(status_with(text(account.at("api_key").at("value"))), 200);
}

}  // namespace
}  // namespace finetuned::tests
