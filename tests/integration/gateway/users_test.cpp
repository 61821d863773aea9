#include "tests/integration/gateway/admin_fixture.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using Types = std::vector<std::string>;

class UsersTest : public AdminTest {
 protected:
  json::value add(const std::string& email, const std::string& role = "member") {
    return done("POST", project("/users"), R"({"role":")" + role + R"(","email":")" + email + "\"}");
  }
};

TEST_F(UsersTest, AddingAnAddressMakesAPersonOfTheOrganization) {
  const json::value added = add("ada@example.org", "owner");
  const std::string id = text(added.at("id"));
  EXPECT_EQ(added.at("object"), "organization.project.user");
  EXPECT_EQ(added.at("email"), "ada@example.org");
  EXPECT_EQ(added.at("role"), "owner");
  EXPECT_TRUE(added.at("name").is_null());
  const json::value user = done("GET", "/users/" + id);
  EXPECT_EQ(user.at("object"), "organization.user");
  EXPECT_EQ(user.at("role"), "reader");
  EXPECT_EQ(text(user.at("user").at("id")), id);
  EXPECT_EQ(user.at("projects").at("data").at(0),
            (json::value{{"id", tenant_.project.id}, {"name", tenant_.project.name}, {"role", "owner"}}));
  EXPECT_TRUE(user.at("technical_level").is_null());
  const json::value log = done("GET", "/audit_logs?order=asc");
  EXPECT_EQ(audited(), (Types{"user.added", "user.added"}));
  EXPECT_FALSE(log.at("data").at(0).as_object().contains("project"));
  EXPECT_EQ(text(log.at("data").at(1).at("project").at("id")), tenant_.project.id);
  EXPECT_EQ(log.at("data").at(1).at("user.added"), (json::value{{"id", id}, {"data", {{"role", "owner"}}}}));
}

TEST_F(UsersTest, TheSamePersonIsInOneOrganizationOnceAndInManyProjects) {
  const std::string id = text(add("Ada@Example.org").at("id"));
  const Answer twice = admin("POST", project("/users"), R"({"role":"member","email":"ada@example.ORG"})");
  EXPECT_EQ(twice.status, 409);
  EXPECT_EQ(twice.code(), "user_already_in_project");
  const std::string second = "/projects/" + text(done("POST", "/projects", R"({"name":"second"})").at("id"));
  EXPECT_EQ(text(done("POST", second + "/users", R"({"role":"owner","user_id":")" + id + "\"}").at("id")), id);
  EXPECT_EQ(done("GET", "/users/" + id).at("projects").at("data").as_array().size(), 2u);
  EXPECT_EQ(ids(done("GET", "/users")), Types{id});
  const Tenant other = make_tenant();
  const Answer stolen = send_as(other.admin_key, "POST", "/v1/organization/projects/" + other.project.id + "/users",
                                R"({"role":"owner","user_id":")" + id + "\"}");
  EXPECT_EQ(stolen.code(), "user_not_found");
  for (const char* method : {"GET", "DELETE"})
    EXPECT_EQ(send_as(other.admin_key, method, "/v1/organization/users/" + id).code(), "user_not_found");
  EXPECT_EQ(send_as(other.admin_key, "POST", "/v1/organization/users/" + id, R"({"role":"owner"})").status, 404);
}

TEST_F(UsersTest, APersonsRoleIsListedAssignedAndTakenAway) {
  const std::string id = text(add("ada@example.org").at("id"));
  const std::string roles = "/users/" + id + "/roles";
  const json::value list = done("GET", roles);
  EXPECT_EQ(list.at("data").as_array().size(), 1u);
  EXPECT_EQ(list.at("data").at(0).at("id"), "role-reader");
  EXPECT_EQ(list.at("data").at(0).at("predefined_role"), true);
  EXPECT_EQ(list.at("data").at(0).at("assignment_sources"), (json::value{{{"principal_id", id}, {"principal_type", "user"}}}));
  EXPECT_EQ(list.at("has_more"), false);
  EXPECT_TRUE(list.at("next").is_null());
  EXPECT_EQ(done("GET", roles + "?after=role-reader").at("data").as_array().size(), 0u);
  EXPECT_EQ(admin("GET", roles + "?after=role-owner").status, 400);

  const json::value assigned = done("POST", roles, R"({"role_id":"role-owner"})");
  EXPECT_EQ(assigned.at("object"), "user.role");
  EXPECT_EQ(assigned.at("role").at("object"), "role");
  EXPECT_EQ(assigned.at("user").at("role"), "owner");
  EXPECT_EQ(done("GET", "/users/" + id).at("role"), "owner");
  done("POST", roles, R"({"role_id":"role-owner"})");
  EXPECT_EQ(done("GET", roles + "/role-owner").at("name"), "owner");
  EXPECT_EQ(admin("GET", roles + "/role-reader").code(), "role_not_found");
  EXPECT_EQ(admin("DELETE", roles + "/role-reader").code(), "role_not_found");

  EXPECT_EQ(done("DELETE", roles + "/role-owner"), (json::value{{"object", "user.role.deleted"}, {"deleted", true}}));
  EXPECT_EQ(done("GET", "/users/" + id).at("role"), "reader");
  EXPECT_EQ(admin("DELETE", roles + "/role-reader").code(), "role_is_required");
  EXPECT_EQ(audited(), (Types{"user.added", "user.added", "role.assignment.created", "role.assignment.deleted"}))
      << "a role that the person had already is no change";
  for (const char* body : {R"({"role_id":"role-king"})", R"({"role_id":"owner"})"})
    EXPECT_EQ(admin("POST", roles, body).code(), "role_not_found") << body;
  EXPECT_EQ(admin("POST", roles, "{}").code(), "missing_required_parameter");
  EXPECT_EQ(admin("GET", "/users/user-none/roles").code(), "user_not_found");
  const Tenant other = make_tenant();
  EXPECT_EQ(send_as(other.admin_key, "POST", "/v1/organization" + roles, R"({"role_id":"role-owner"})").code(), "user_not_found");
}

TEST_F(UsersTest, RolesAreChangedAndMembershipsEnd) {
  const std::string id = text(add("ada@example.org").at("id"));
  const std::string member = project("/users/" + id);
  EXPECT_EQ(done("POST", member, R"({"role":"owner","id":"user-x"})").at("role"), "owner");
  EXPECT_EQ(done("POST", member, R"({"role":null})").at("role"), "owner");
  EXPECT_EQ(done("POST", "/users/" + id, R"({"role":"owner","technical_level":"high","email":"x@y"})").at("role"), "owner");
  const json::value user = done("GET", "/users/" + id);
  EXPECT_EQ(user.at("technical_level"), "high");
  EXPECT_EQ(user.at("email"), "ada@example.org");
  EXPECT_EQ(done("DELETE", member).at("object"), "organization.project.user.deleted");
  EXPECT_EQ(admin("GET", member).code(), "user_not_found");
  EXPECT_EQ(admin("DELETE", member).status, 404);
  EXPECT_EQ(admin("POST", member, R"({"role":"owner"})").status, 404);
  EXPECT_EQ(done("POST", project("/users"), R"({"role":"member","user_id":")" + id + "\"}").at("role"), "member");
  EXPECT_EQ(done("DELETE", "/users/" + id).at("object"), "organization.user.deleted");
  EXPECT_EQ(admin("GET", "/users/" + id).status, 404);
  EXPECT_EQ(admin("GET", member).status, 404) << "gone from its projects as well";
  EXPECT_NE(text(add("ada@example.org").at("id")), id);
}

TEST_F(UsersTest, ListsFilterByAddressAndPage) {
  Types made;
  for (const char* email : {"a@x.y", "b@x.y", "c@x.y"}) made.insert(made.begin(), text(add(email).at("id")));
  EXPECT_EQ(ids(done("GET", "/users")), made);
  EXPECT_EQ(ids(done("GET", project("/users?limit=2"))), (Types{made[0], made[1]}));
  done("DELETE", project("/users/" + made[1]));
  EXPECT_EQ(ids(done("GET", project("/users?after=" + made[1]))), Types{made[2]}) << "from a member who has left";
  EXPECT_EQ(ids(done("GET", "/users?emails%5B%5D=A@x.y&emails%5B%5D=c@x.y")), (Types{made[0], made[2]}));
  EXPECT_EQ(ids(done("GET", "/users?emails=b@x.y")), Types{made[1]});
  EXPECT_TRUE(ids(done("GET", "/users?emails%5B%5D=%22,%7B%5C")).empty());
}

TEST_F(UsersTest, BodiesAreChecked) {
  const std::string all = project("/users");
  expect_refused("POST", all, "role", {R"({"email":"a@b"})", R"({"email":"a@b","role":"reader"})"});
  expect_refused("POST", all, "email", {R"({"role":"member","email":"nobody"})", R"({"role":"member","email":"a@b","user_id":"u"})"});
  expect_refused("POST", all, "user_id", {R"({"role":"member"})", R"({"role":"member","user_id":5})"});
  EXPECT_EQ(admin("POST", all, R"({"role":"member","user_id":"user-none"})").code(), "user_not_found");
  const std::string id = text(add("a@b").at("id"));
  expect_refused("POST", "/users/" + id, "role", {R"({"role":"member"})"});
  expect_refused("POST", "/users/" + id, "role_id", {R"({"role_id":"role-1"})"});
  expect_refused("POST", project("/users/" + id), "role", {R"({"role":"reader"})"});
}

}  // namespace
}  // namespace finetuned::tests
