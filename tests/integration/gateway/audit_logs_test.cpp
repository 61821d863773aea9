#include "base/ids.h"
#include "tests/integration/gateway/admin_fixture.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using Types = std::vector<std::string>;

class AuditLogsTest : public AdminTest {
 protected:
  std::string query(const std::string& filter) { return "/audit_logs?order=asc&" + filter; }

  Types types(const std::string& filter) {
    Types all;
    const json::value list = done("GET", query(filter));
    for (const auto& entry : list.at("data").as_array()) all.push_back(text(entry.at("type")));
    return all;
  }
};

TEST_F(AuditLogsTest, AnEntrySaysWhoDidWhatToWhat) {
  const std::string id = text(done("POST", "/projects", R"({"name":"vision"})").at("id"));
  const json::value log = done("GET", "/audit_logs");
  ASSERT_EQ(log.at("data").as_array().size(), 1u);
  const json::value& entry = log.at("data").at(0);
  EXPECT_EQ(entry.at("type"), "project.created");
  EXPECT_EQ(entry.at("project"), (json::value{{"id", id}, {"name", "vision"}}));
  EXPECT_EQ(entry.at("project.created"), (json::value{{"id", id}, {"data", {{"name", "vision"}, {"title", "vision"}}}}));
  EXPECT_EQ(entry.at("actor").at("type"), "api_key");
  EXPECT_EQ(text(entry.at("actor").at("api_key").at("id")), ids(done("GET", "/admin_api_keys")).at(0));
  EXPECT_GT(entry.at("effective_at").as_int64(), 1'700'000'000);
  EXPECT_EQ(log.at("first_id"), entry.at("id"));
  EXPECT_EQ(log.at("has_more"), false);
}

TEST_F(AuditLogsTest, AChangeThatIsRefusedLeavesNoEntry) {
  EXPECT_EQ(admin("POST", "/projects", R"({"name":"research"})").status, 409);
  EXPECT_EQ(admin("POST", project("/users"), R"({"role":"x","email":"a@b"})").status, 400);
  EXPECT_EQ(admin("DELETE", "/users/user-none").status, 404);
  EXPECT_TRUE(audited().empty());
}

TEST_F(AuditLogsTest, CreditIsLoggedOncePerTransfer) {
  const std::string body = R"({"amount":"5","reason":"gift","transfer_id":")" + base::make_uuid() + "\"}";
  done("POST", project("/credits"), body);
  done("POST", project("/credits"), body);
  EXPECT_EQ(audited(), Types{"credit.created"});
}

TEST_F(AuditLogsTest, ListsFilterByEachThing) {
  const std::string second = text(done("POST", "/projects", R"({"name":"second"})").at("id"));
  done("PUT", project("/quotas"), "{}");
  const json::value key = done("POST", "/admin_api_keys", R"({"name":"other"})");
  EXPECT_EQ(send_as(text(key.at("value")), "POST", "/v1/organization" + project(), R"({"name":"first"})").status, 200);
  EXPECT_EQ(types("limit=9"), (Types{"project.created", "quota.updated", "api_key.created", "project.updated"}));
  EXPECT_EQ(types("project_ids%5B%5D=" + second), Types{"project.created"});
  EXPECT_EQ(types("project_ids[]=" + second + "&project_ids[]=" + tenant_.project.id).size(), 3u);
  EXPECT_EQ(types("event_types[]=api_key.created&event_types[]=quota.updated"), (Types{"quota.updated", "api_key.created"}));
  EXPECT_EQ(types("actor_ids[]=" + text(key.at("id"))), Types{"project.updated"});
  EXPECT_EQ(types("resource_ids[]=" + text(key.at("id"))), Types{"api_key.created"});
  EXPECT_TRUE(types("actor_emails[]=a@b").empty());
  EXPECT_TRUE(types("tenant_only=true").empty());
  const std::string now = std::to_string(done("GET", "/audit_logs").at("data").at(0).at("effective_at").as_int64());
  EXPECT_TRUE(types("effective_at[gt]=" + now).empty());
  EXPECT_GE(types("effective_at[gte]=" + now).size(), 1u);
  EXPECT_EQ(types("effective_at[lte]=" + now).size(), 4u);
  EXPECT_EQ(types("effective_at[lt]=" + now).size() + types("effective_at[gte]=" + now).size(), 4u);
  for (const char* wrong : {"effective_at[gt]=x", "effective_at[gt]=-1", "effective_at[lte]=100000000001", "effective_at[x]=1"})
    EXPECT_EQ(admin("GET", query(wrong)).status, 400) << wrong;
  EXPECT_EQ(admin("GET", query("tenant_only=maybe")).param(), "tenant_only");
}

TEST_F(AuditLogsTest, PagesRunBothWaysAndStayInTheOrganization) {
  for (int i = 0; i < 5; ++i) done("PUT", project("/quotas"), "{}");
  const Types all = ids(done("GET", "/audit_logs"));
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(ids(done("GET", "/audit_logs?limit=2&after=" + all[1])), (Types{all[2], all[3]}));
  const json::value before = done("GET", "/audit_logs?limit=2&before=" + all[3]);
  EXPECT_EQ(ids(before), (Types{all[1], all[2]})) << "the nearest ones, in the list's order";
  EXPECT_EQ(before.at("has_more"), true);
  EXPECT_EQ(done("GET", "/audit_logs?limit=2&before=" + all[2]).at("has_more"), false);
  EXPECT_EQ(admin("GET", "/audit_logs?after=" + all[0] + "&before=" + all[3]).param(), "before");
  const Tenant other = make_tenant();
  EXPECT_EQ(send_as(other.admin_key, "GET", "/v1/organization/audit_logs?after=" + all[0]).code(), "invalid_cursor");
  EXPECT_TRUE(ids(send_as(other.admin_key, "GET", "/v1/organization/audit_logs").json()).empty());
  EXPECT_EQ(send("GET", "/v1/organization/audit_logs").status, 403);
}

}  // namespace
}  // namespace finetuned::tests
