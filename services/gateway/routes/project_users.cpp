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
using storage::ProjectUserStore;

namespace {

constexpr std::size_t kMostId = 100;

base::ApiError no_user(const Request& request) { return no_such("user", request.params.at(1), "user_id"); }

/// The person that a body names. An address that the organization does not know yet makes a new `reader` of it
/// (`is_new`): there is no other way in.
storage::User named_user(Transaction& tx, const Request& request, const BodyFields& fields, bool& is_new) {
  const auto id = fields.text("user_id", kMostId);
  const auto email = fields.email("email");
  if (id && email) throw base::bad_request("invalid_value", "Give user_id or email, not both.", "email");
  storage::UserStore users(tx, request.principal.organization_id);
  is_new = false;
  if (id) {
    const auto user = users.find(*id);
    if (!user) throw no_such("user", *id, "user_id");
    return *user;
  }
  const std::string address = fields.required("user_id", email);
  if (const auto user = users.find_by_email(address)) return *user;
  const auto added = users.add(address);
  is_new = added.has_value();
  return added ? *added : users.find_by_email(address).value();
}

json::object list_users(Transaction& tx, const Request& request) {
  const auto page = page_request(request, ListRules{});
  return cursor_list(ProjectUserStore(tx, own_project(tx, request).id).list(page), project_user_shape);
}

json::object add_user(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  const std::string role = fields.required("role", fields.choice("role", {"owner", "member"}));
  const storage::Project project = open_project(tx, request);
  bool is_new = false;
  const storage::User user = named_user(tx, request, fields, is_new);
  const auto added = ProjectUserStore(tx, project.id).add(user.id, role);
  if (!added)
    throw base::ApiError(409, "invalid_request_error", "user_already_in_project",
                         "The user " + user.id + " is in the project already.", "user_id");
  if (is_new) audit(tx, request, "user.added", {{"id", user.id}, {"data", {{"role", user.role}}}});
  audit(tx, request, "user.added", {{"id", user.id}, {"data", {{"role", role}}}}, project.id);
  return project_user_shape(*added);
}

json::object get_user(Transaction& tx, const Request& request) {
  const auto user = ProjectUserStore(tx, own_project(tx, request).id).find(request.params.at(1));
  if (!user) throw no_user(request);
  return project_user_shape(*user);
}

json::object update_user(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  const auto role = fields.choice("role", {"owner", "member"});
  const storage::Project project = open_project(tx, request);
  ProjectUserStore users(tx, project.id);
  const auto user = role ? users.change_role(request.params.at(1), *role) : users.find(request.params.at(1));
  if (!user) throw no_user(request);
  if (role)
    audit(tx, request, "user.updated", {{"id", user->id}, {"changes_requested", {{"role", *role}}}}, project.id);
  return project_user_shape(*user);
}

json::object remove_user(Transaction& tx, const Request& request) {
  const storage::Project project = open_project(tx, request);
  const std::string& id = request.params.at(1);
  if (!ProjectUserStore(tx, project.id).remove(id)) throw no_user(request);
  audit(tx, request, "user.deleted", {{"id", id}}, project.id);
  return deleted_shape(id, "organization.project.user.deleted");
}

}  // namespace

void add_project_user_routes(Router& router, const Platform& platform) {
  const std::string all = "/v1/organization/projects/{project_id}/users";
  const std::string one = all + "/{user_id}";
  add_admin_route(router, platform, "GET", all, list_users);
  add_admin_create_route(router, platform, all, add_user);
  add_admin_route(router, platform, "GET", one, get_user);
  add_admin_route(router, platform, "POST", one, update_user);
  add_admin_route(router, platform, "DELETE", one, remove_user);
}

}  // namespace finetuned::gateway
