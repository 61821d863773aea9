#include "tests/integration/gateway/admin_fixture.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using Types = std::vector<std::string>;

class ProjectsTest : public AdminTest {
 protected:
  std::string make(const std::string& name) { return text(done("POST", "/projects", R"({"name":")" + name + "\"}").at("id")); }
};

TEST_F(ProjectsTest, AProjectIsMadeRenamedAndListed) {
  const json::value made =
      done("POST", "/projects", R"({"name":"vision","id":"proj-mine","organization_id":"org-x","status":"archived"})");
  const std::string id = text(made.at("id"));
  EXPECT_TRUE(id.starts_with("proj-") && id != "proj-mine");
  EXPECT_EQ(made.at("object"), "organization.project");
  EXPECT_EQ(made.at("name"), "vision");
  EXPECT_EQ(made.at("status"), "active");
  EXPECT_TRUE(made.at("archived_at").is_null());
  EXPECT_TRUE(made.at("external_key_id").is_null());
  EXPECT_EQ(done("GET", "/projects/" + id), made);
  EXPECT_EQ(done("POST", "/projects/" + id, R"({"name":"speech","status":"archived"})").at("name"), "speech");
  EXPECT_EQ(done("GET", "/projects/" + id).at("status"), "active");
  const json::value all = done("GET", "/projects");
  EXPECT_EQ(ids(all), (Types{id, tenant_.project.id}));
  EXPECT_EQ(text(all.at("first_id")), id);
  EXPECT_EQ(all.at("has_more"), false);
  EXPECT_EQ(audited(), (Types{"project.created", "project.updated"}));
}

TEST_F(ProjectsTest, AnArchivedProjectsKeysAreRefusedAtOnce) {
  EXPECT_EQ(status_with(tenant_.key), 200);
  const json::value archived = done("POST", project("/archive"));
  EXPECT_EQ(archived.at("status"), "archived");
  EXPECT_TRUE(archived.at("archived_at").is_int64());
  EXPECT_EQ(status_with(tenant_.key), 401);
  EXPECT_EQ(done("POST", project("/archive")), archived) << "a second time changes nothing";
  EXPECT_TRUE(ids(done("GET", "/projects")).empty());
  EXPECT_EQ(ids(done("GET", "/projects?include_archived=true")), Types{tenant_.project.id});
  EXPECT_EQ(done("GET", project("/api_keys")).at("data").at(0).at("owner_project_access"), "inactive");
  EXPECT_EQ(audited(), Types{"project.archived"});
}

TEST_F(ProjectsTest, AnArchivedProjectTakesNoChanges) {
  const std::string account =
      text(done("POST", project("/service_accounts"), R"({"name":"ci"})").at("id"));
  done("POST", project("/archive"));
  const std::string alert = R"({"threshold_amount":1,"currency":"USD","interval":"month","notification_channel":)"
                            R"({"type":"email","recipients":["a@b"]}})";
  const std::vector<std::array<std::string, 3>> changes = {
      {"POST", "", R"({"name":"x"})"},
      {"POST", "/service_accounts", R"({"name":"x"})"},
      {"POST", "/service_accounts/" + account, R"({"name":"x"})"},
      {"POST", "/service_accounts/" + account + "/api_keys", ""},
      {"DELETE", "/service_accounts/" + account, ""},
      {"POST", "/users", R"({"role":"member","email":"a@b"})"},
      {"POST", "/users/user-x", R"({"role":"member"})"},
      {"DELETE", "/users/user-x", ""},
      {"POST", "/rate_limits/rl-x", "{}"},
      {"POST", "/spend_limit", R"({"threshold_amount":1,"currency":"USD","interval":"month"})"},
      {"DELETE", "/spend_limit", ""},
      {"POST", "/spend_alerts", alert},
      {"POST", "/spend_alerts/alert-x", alert},
      {"DELETE", "/spend_alerts/alert-x", ""},
      {"PUT", "/quotas", "{}"}};
  for (const auto& [method, path, body] : changes) {
    const Answer answer = admin(method, project(path), body);
    EXPECT_EQ(answer.code(), "project_archived") << method << " " << path << ": " << answer.body;
  }
  EXPECT_TRUE(ids(done("GET", "/users")).empty()) << "the new person went with the refused change";
}

TEST_F(ProjectsTest, NamesAndListsAreChecked) {
  expect_refused("POST", "/projects", "name", {"{}", R"({"name":""})", R"({"name":1})", R"({"name":")" + std::string(101, 'a') + "\"}"});
  expect_refused("POST", "/projects", "residency", {R"({"name":"a","residency":"EU_STORAGE_PROCESSING"})"});
  expect_refused("POST", "/projects", "external_key_id", {R"({"name":"a","external_key_id":"k"})"});
  EXPECT_EQ(admin("GET", "/projects?include_archived=1").param(), "include_archived");
  for (const char* limit : {"0", "101", "x"}) EXPECT_EQ(admin("GET", std::string("/projects?limit=") + limit).param(), "limit");
  const std::string id = make("second");
  const Answer taken = admin("POST", "/projects/" + id, R"({"name":"research"})");
  EXPECT_EQ(taken.status, 409);
  EXPECT_EQ(taken.code(), "project_name_taken");
  EXPECT_EQ(taken.header("x-should-retry"), "false");
  EXPECT_EQ(admin("POST", "/projects", R"({"name":"second"})").code(), "project_name_taken");
  EXPECT_EQ(done("POST", "/projects/" + id, R"({"name":"second"})").at("name"), "second");
}

TEST_F(ProjectsTest, PagesFollowEachOtherAcrossWhatWasArchivedMeanwhile) {
  Types made{tenant_.project.id};
  for (const char* name : {"a", "b", "c", "d"}) made.insert(made.begin(), make(name));
  const json::value first = done("GET", "/projects?limit=2");
  EXPECT_EQ(ids(first), (Types{made[0], made[1]}));
  EXPECT_EQ(first.at("has_more"), true);
  done("POST", "/projects/" + made[1] + "/archive");
  const json::value second = done("GET", "/projects?limit=2&after=" + made[1]);
  EXPECT_EQ(ids(second), (Types{made[2], made[3]}));
  EXPECT_EQ(ids(done("GET", "/projects?limit=2&after=" + made[3])), Types{made[4]});
  EXPECT_EQ(admin("GET", "/projects?after=proj-none").code(), "invalid_cursor");
}

TEST_F(ProjectsTest, AnotherOrganizationsProjectIsNotThere) {
  const Tenant other = make_tenant();
  const std::string account = text(done("POST", project("/service_accounts"), R"({"name":"ci"})").at("id"));
  const std::string user = text(done("POST", project("/users"), R"({"role":"member","email":"a@b.c"})").at("id"));
  const std::string limit = R"({"threshold_amount":5,"currency":"USD","interval":"month"})";
  const std::string alert = R"({"threshold_amount":1,"currency":"USD","interval":"month","notification_channel":)"
                            R"({"type":"email","recipients":["a@b"]}})";
  done("POST", project("/spend_limit"), limit);
  const std::string alert_id = text(done("POST", project("/spend_alerts"), alert).at("id"));
  const std::string key = ids(done("GET", project("/api_keys"))).at(0);
  const std::vector<std::array<std::string, 3>> calls = {
      {"GET", "", ""}, {"POST", "", R"({"name":"stolen"})"}, {"POST", "/archive", ""},
      {"GET", "/api_keys", ""}, {"GET", "/api_keys/" + key, ""}, {"DELETE", "/api_keys/" + key, ""},
      {"GET", "/service_accounts", ""}, {"POST", "/service_accounts", R"({"name":"x"})"},
      {"GET", "/service_accounts/" + account, ""}, {"POST", "/service_accounts/" + account, R"({"name":"x"})"},
      {"DELETE", "/service_accounts/" + account, ""}, {"POST", "/service_accounts/" + account + "/api_keys", ""},
      {"GET", "/users", ""}, {"POST", "/users", R"({"role":"owner","email":"x@y.z"})"}, {"GET", "/users/" + user, ""},
      {"POST", "/users/" + user, R"({"role":"owner"})"}, {"DELETE", "/users/" + user, ""},
      {"GET", "/rate_limits", ""}, {"POST", "/rate_limits/rl-x", R"({"max_requests_per_1_minute":1})"},
      {"GET", "/spend_limit", ""}, {"POST", "/spend_limit", limit}, {"DELETE", "/spend_limit", ""},
      {"GET", "/spend_alerts", ""}, {"POST", "/spend_alerts", alert}, {"GET", "/spend_alerts/" + alert_id, ""},
      {"POST", "/spend_alerts/" + alert_id, alert}, {"DELETE", "/spend_alerts/" + alert_id, ""},
      {"GET", "/quotas", ""}, {"PUT", "/quotas", "{}"}};
  const Types before = audited();
  for (const auto& [method, path, body] : calls) {
    const std::string url = "/v1/organization" + project(path);
    const Answer answer = send_as(other.admin_key, method, url, body);
    EXPECT_EQ(answer.status, 404) << method << " " << path << ": " << answer.body;
    EXPECT_EQ(answer.code(), "project_not_found") << method << " " << path;
    EXPECT_EQ(send_as(tenant_.key, method, url, body).status, 403) << method << " " << path;
  }
  EXPECT_EQ(audited(), before);
  EXPECT_EQ(send_as(other.admin_key, "GET", "/v1/organization/projects?after=" + tenant_.project.id).code(), "invalid_cursor");
  // What is of this organization, but of another of its projects.
  const std::string own = "/projects/" + make("own");
  for (const std::string& path : {"/service_accounts/" + account, "/users/" + user, "/spend_alerts/" + alert_id, "/api_keys/" + key})
    EXPECT_EQ(admin("GET", own + path).status, 404) << path;
  EXPECT_EQ(status_with(tenant_.key), 200);
}

}  // namespace
}  // namespace finetuned::tests
