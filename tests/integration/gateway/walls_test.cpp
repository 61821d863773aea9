#include <gmock/gmock.h>

#include <ctime>
#include <set>

#include "tests/integration/gateway/walls_fixture.h"

// What one project or organization can learn of another by any route: nothing.

namespace finetuned::tests {
namespace {

using testing::HasSubstr;
using testing::Not;
using Ids = std::vector<std::string>;

// What models and roles there are is no secret.
const std::set<std::string> kEverybodys{"rate_limit_id", "role_id", "open_challenge_id"};

TEST_F(WallsTest, EveryRouteIsInTheMatrix) {
  std::set<std::string> served, known;
  for (const auto& route : gateway_->router().routes()) served.insert(route->method + " " + route->path_template);
  for (const MatrixEntry& entry : route_matrix()) {
    EXPECT_TRUE(known.insert(entry.route).second) << entry.route << " is there twice";
    const auto* route = route_of(entry);
    ASSERT_TRUE(route) << entry.route << " is not served: take it out of route_matrix.cpp";
    EXPECT_EQ(entry.open, route->access == gateway::Access::kOpen) << entry.route << " is open, or is not, against its entry";
  }
  for (const std::string& route : served)
    EXPECT_TRUE(known.contains(route)) << route << " has no entry in route_matrix.cpp: give it one, and these tests walk it";
}

/// Or the refusals below would prove nothing.
TEST_F(WallsTest, OwnIdsAreFound) {
  for (const MatrixEntry& entry : route_matrix()) {
    if (entry.open || entry.takes_body()) continue;  // those with a body: walls_fields_test.cpp
    const Estate estate = entry.method() == "GET" ? mine() : fresh();
    const Answer answer = ask(entry, entry.path_of(estate), key_for(entry, estate), "");
    EXPECT_EQ(answer.status, entry.status) << entry.route << ": " << answer.body;
  }
}

TEST_F(WallsTest, AnothersIdsInAPathAreNotFound) {
  mine();
  Watch database;
  for (const MatrixEntry& entry : route_matrix()) {
    const Ids names = entry.parameters();
    if (entry.open || names.empty()) continue;
    const std::string key = key_for(entry, mine()), body = mine().fill(entry.body);
    for (const Estate* other : {&stranger(), &neighbour()}) {
      // From each position on the ids are the other's; the ones before it are the asker's own. An administrator's wall is
      // the organization: a neighbour's ids count below the asker's own project only.
      for (std::size_t from = 0; from < names.size(); ++from) {
        if (kEverybodys.contains(names[from])) continue;
        if (is_admin(entry) && other == &neighbour() && from == 0) continue;
        for (const std::string& last : other->ids.at(names.back())) {
          Ids theirs, none;
          for (std::size_t i = from; i < names.size(); ++i) {
            theirs.push_back(i + 1 == names.size() ? last : other->id(names[i]));
            none.push_back(missing_like(theirs.back()));
          }
          if (kEverybodys.contains(names.back())) none.back() = theirs.back();
          expect_alike(entry.route + (from ? " (below an own one)" : ""), theirs, none, [&](const Ids& ids) {
            Ids all;
            for (std::size_t i = 0; i < from; ++i) all.push_back(mine().id(names[i]));
            all.insert(all.end(), ids.begin(), ids.end());
            return ask(entry, entry.path_with(all), key, body);
          }, 404);
        }
      }
    }
    database.expect_nothing_changed(entry.route);
  }
}

TEST_F(WallsTest, AnothersIdsInABodyAreNotFound) {
  struct Reference {
    std::string method, path, body;  ///< `#`: the id at issue
    std::string name;
    int status = 404;
  };
  const std::string jobs = "/v1/fine_tuning/jobs", permissions = "/v1/fine_tuning/checkpoints/$model/permissions";
  std::vector<Reference> references{
      {"POST", "/v1/uploads/$upload_id/complete", R"({"part_ids":["#"]})", "part_id", 400},
      {"POST", "/v1/uploads/$upload_id/complete", R"({"part_ids":["$part_id","#"]})", "part_id", 400},
      {"POST", "/v1/chat/completions", R"({"model":"#","messages":[{"role":"user","content":"a"}]})", "model"},
      {"POST", "/v1/completions", R"({"model":"#","prompt":"a"})", "model"}};
  for (const std::string& path : {jobs, jobs + "/quote"}) {
    references.push_back({"POST", path, R"({"model":"$base","training_file":"#"})", "file_id"});
    references.push_back({"POST", path, R"({"model":"$base","training_file":"$training_file","validation_file":"#"})", "training_file"});
    references.push_back({"POST", path, R"({"model":"#","training_file":"$training_file"})", "model"});
  }
  const std::vector<Reference> of_administrators{
      {"POST", permissions, R"({"project_ids":["#"]})", "project_id"},
      {"POST", permissions, R"({"project_ids":["$friend_id","#"]})", "project_id"},
      {"POST", "/v1/organization/projects/$project_id/users", R"({"role":"member","user_id":"#"})", "user_id"}};
  mine();
  Watch database;
  const auto walk = [&](const std::vector<Reference>& all, const std::string& key, const std::vector<const Estate*>& others) {
    for (const Reference& one : all) {
      for (const Estate* other : others)
        for (const std::string& id : other->ids.at(one.name))
          expect_alike(one.method + " " + one.path + " " + one.body, {id}, {missing_like(id)}, [&](const Ids& ids) {
            std::string body = mine().fill(one.body);
            body.replace(body.find('#'), 1, ids[0]);
            return send_as(key, one.method, mine().fill(one.path), body);
          }, one.status);
      database.expect_nothing_changed(one.method + " " + one.path + " " + one.body);
    }
  };
  walk(references, mine().tenant.key, {&stranger(), &neighbour()});
  walk(of_administrators, mine().tenant.admin_key, {&stranger()});
}

TEST_F(WallsTest, AnothersIdsInAQueryAreAsUnknownOnes) {
  struct Question {
    std::string path, name;  ///< `#` in the path: the id at issue
    std::optional<int> status = std::nullopt;
  };
  const std::string job = "/v1/fine_tuning/jobs/$fine_tuning_job_id", organization = "/v1/organization",
                    project = organization + "/projects/$project_id", usage = organization + "/usage/completions?start_time=1";
  const std::vector<Question> of_projects{
      {"/v1/files?after=#", "file_id", 400}, {"/v1/fine_tuning/jobs?after=#", "fine_tuning_job_id", 400},
      {"/v1/fine_tuning/jobs?metadata[of]=#", "project_id", 200}, {job + "/events?after=#", "event_id", 400},
      {job + "/checkpoints?after=#", "checkpoint_id", 400}, {job + "/stream?after=#", "event_id", 400},
      {"/v1/models/$model/exports?after=#", "export_id", 400}, {"/v1/webhook_endpoints?after=#", "webhook_endpoint_id", 400},
      {"/v1/webhook_endpoints/$webhook_endpoint_id/deliveries?after=#", "delivery_id", 400},
      {"/v1/billing/transfers?after=#", "transfer_id", 400}};
  const std::vector<Question> of_projects_below_own{
      {project + "/api_keys?after=#", "api_key_id", 400}, {project + "/service_accounts?after=#", "service_account_id", 400},
      {project + "/users?after=#", "member_id", 400}, {project + "/spend_alerts?after=#", "alert_id", 400},
      {project + "/spend_alerts?before=#", "alert_id", 400},
      {"/v1/fine_tuning/checkpoints/$model/permissions?after=#", "permission_id", 400}};
  const std::vector<Question> of_organizations{
      {organization + "/admin_api_keys?after=#", "key_id", 400}, {organization + "/users?after=#", "user_id", 400},
      {organization + "/users?emails[]=#", "email", 200}, {organization + "/projects?after=#", "project_id", 400},
      {organization + "/spend_alerts?after=#", "organization_alert_id", 400},
      {organization + "/spend_alerts?before=#", "organization_alert_id", 400},
      {organization + "/audit_logs?after=#", "audit_id", 400}, {organization + "/audit_logs?before=#", "audit_id", 400},
      {organization + "/audit_logs?project_ids[]=#", "project_id", 200}, {organization + "/audit_logs?resource_ids[]=#", "project_id", 200},
      {organization + "/audit_logs?actor_ids[]=#", "key_id", 200},
      {"/v1/fine_tuning/checkpoints/$model/permissions?project_id=#", "friend_id", 200},
      {usage + "&project_ids[]=#", "project_id", 200}, {usage + "&api_key_ids[]=#", "api_key_id", 200},
      {usage + "&models[]=#", "model", 200}, {organization + "/costs?start_time=1&project_ids[]=#", "project_id", 200}};
  mine();
  Watch database;
  const auto walk = [&](const std::vector<Question>& all, const std::string& key, const std::vector<const Estate*>& others) {
    for (const Question& one : all)
      for (const Estate* other : others) {
        const std::string& id = other->id(one.name);
        expect_alike(one.path, {id}, {missing_like(id)}, [&](const Ids& ids) {
          std::string path = mine().fill(one.path);
          path.replace(path.find('#'), 1, ids[0]);
          return send_as(key, "GET", path);
        }, one.status);
      }
  };
  walk(of_projects, mine().tenant.key, {&stranger(), &neighbour()});
  walk(of_projects_below_own, mine().tenant.admin_key, {&stranger(), &neighbour()});
  walk(of_organizations, mine().tenant.admin_key, {&stranger()});
  database.expect_nothing_changed("asking");
}

/// What some lists cannot do without, as wide as it may be.
std::string query_of(const MatrixEntry& entry) {
  if (entry.path().ends_with("/costs")) return "?start_time=1&group_by[]=project_id";
  if (entry.path().ends_with("/usage/completions"))
    return "?start_time=1&group_by[]=project_id&group_by[]=api_key_id&group_by[]=model";
  if (entry.path() == "/v1/billing/statement") {
    const std::time_t now = std::time(nullptr);
    char month[16];
    std::strftime(month, sizeof month, "?month=%Y-%m", std::gmtime(&now));
    return month;
  }
  return "";
}

TEST_F(WallsTest, ListsShowNothingOfAnothers) {
  for (const MatrixEntry& entry : route_matrix()) {
    if (entry.method() != "GET" || entry.open) continue;
    const Answer answer = ask(entry, entry.path_of(mine()) + query_of(entry), key_for(entry, mine()), "");
    EXPECT_EQ(answer.status, 200) << entry.route << answer.body;
    Ids foreign = stranger().own_ids();
    for (const char* name : {"organization_id", "key_id", "user_id", "email"}) foreign.push_back(stranger().id(name));
    if (is_admin(entry)) foreign.push_back(stranger().id("challenge_id"));
    if (!is_admin(entry)) {
      const Ids more_ids = neighbour().own_ids();
      foreign.insert(foreign.end(), more_ids.begin(), more_ids.end());
    }
    for (const std::string& id : foreign) EXPECT_THAT(answer.body, Not(HasSubstr(id))) << entry.route;
  }
}

}  // namespace
}  // namespace finetuned::tests
