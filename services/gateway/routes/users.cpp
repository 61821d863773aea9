#include "services/gateway/admin.h"
#include "services/gateway/admin_shapes.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/job_request.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;
using storage::UserStore;

namespace {

constexpr std::size_t kMostText = 100;
constexpr int kMostMemberships = 100;

UserStore users_of(Transaction& tx, const Request& request) { return {tx, request.principal.organization_id}; }

base::ApiError no_user(const Request& request) { return no_such("user", request.params.at(0), "user_id"); }

/// With the projects that the user is in, which lists leave out (null).
json::object full_shape(UserStore& users, const storage::User& user) {
  json::array data;
  for (const storage::Membership& membership : users.memberships(user.id, kMostMemberships)) {
    json::object project;
    project["id"] = membership.project_id;
    project["name"] = membership.project_name;
    project["role"] = membership.role;
    data.push_back(std::move(project));
  }
  json::object shape = user_shape(user);
  shape["projects"] = {{"object", "list"}, {"data", std::move(data)}};
  return shape;
}

json::object list_users(Transaction& tx, const Request& request) {
  const auto page = page_request(request, ListRules{});
  return cursor_list(users_of(tx, request).list(query_list(request, "emails"), page), user_shape);
}

json::object get_user(Transaction& tx, const Request& request) {
  UserStore users = users_of(tx, request);
  const auto user = users.find(request.params.at(0));
  if (!user) throw no_user(request);
  return full_shape(users, *user);
}

json::object update_user(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  storage::UserChange change;
  change.role = fields.choice("role", {"owner", "reader"});
  change.technical_level = fields.text("technical_level", kMostText);
  change.developer_persona = fields.text("developer_persona", kMostText);
  fields.refuse("role_id", "give role here, or POST .../roles");
  UserStore users = users_of(tx, request);
  const auto user = users.update(request.params.at(0), change);
  if (!user) throw no_user(request);
  json::object shape = full_shape(users, *user);
  json::object changes;
  if (change.role) changes["role"] = *change.role;
  if (change.technical_level) changes["technical_level"] = *change.technical_level;
  if (change.developer_persona) changes["developer_persona"] = *change.developer_persona;
  if (!changes.empty()) audit(tx, request, "user.updated", {{"id", user->id}, {"changes_requested", std::move(changes)}});
  return shape;
}

json::object delete_user(Transaction& tx, const Request& request) {
  const std::string& id = request.params.at(0);
  if (!users_of(tx, request).remove(id)) throw no_user(request);
  audit(tx, request, "user.deleted", {{"id", id}});
  return deleted_shape(id, "organization.user.deleted");
}

}  // namespace

void add_user_routes(Router& router, const Platform& platform) {
  add_admin_route(router, platform, "GET", "/v1/organization/users", list_users);
  add_admin_route(router, platform, "GET", "/v1/organization/users/{user_id}", get_user);
  add_admin_route(router, platform, "POST", "/v1/organization/users/{user_id}", update_user);
  add_admin_route(router, platform, "DELETE", "/v1/organization/users/{user_id}", delete_user);
}

}  // namespace finetuned::gateway
