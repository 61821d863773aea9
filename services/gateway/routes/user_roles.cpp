#include <algorithm>
#include <array>

#include "services/gateway/admin.h"
#include "services/gateway/admin_shapes.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/job_request.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;
using storage::UserStore;

namespace {

constexpr std::size_t kMostId = 100;
constexpr int kMostRoles = 1000;
constexpr char kResource[] = "api.organization";

/// There are these two, and a person has one of them: what OpenAI's role `owner` or `reader` of a user is. People have no
/// keys and no login here, so a role permits nothing.
struct Role {
  std::string_view id, name, description;
};
constexpr std::array<Role, 2> kRoles{{{"role-owner", "owner", "Is responsible for the organization."},
                                      {"role-reader", "reader", "Belongs to the organization."}}};
constexpr std::string_view kLeast = "reader";

const Role& role_named(std::string_view name) {
  return *std::find_if(kRoles.begin(), kRoles.end(), [&](const Role& role) { return role.name == name; });
}

const Role* find_role(std::string_view id) {
  const auto found = std::find_if(kRoles.begin(), kRoles.end(), [&](const Role& role) { return role.id == id; });
  return found == kRoles.end() ? nullptr : &*found;
}

json::object common_shape(const Role& role) {
  json::object shape;
  shape["id"] = role.id;
  shape["name"] = role.name;
  shape["description"] = role.description;
  shape["permissions"] = json::array();
  shape["resource_type"] = kResource;
  shape["predefined_role"] = true;
  return shape;
}

json::object assigned_shape(const Role& role, const storage::User& user) {
  json::object shape = common_shape(role);
  for (const char* key : {"created_at", "updated_at", "created_by", "created_by_user_obj", "metadata"}) shape[key] = nullptr;
  json::object source;
  source["principal_id"] = user.id;
  source["principal_type"] = "user";
  shape["assignment_sources"] = json::array{std::move(source)};
  return shape;
}

storage::User user_of(Transaction& tx, const Request& request) {
  const std::string& id = request.params.at(0);
  auto user = UserStore(tx, request.principal.organization_id).find(id);
  if (!user) throw no_such("user", id, "user_id");
  return *std::move(user);
}

/// The role that the path names, which the person has.
const Role& assigned_role(const storage::User& user, const Request& request) {
  const Role* role = find_role(request.params.at(1));
  if (!role || role->name != user.role) throw no_such("role", request.params.at(1), "role_id");
  return *role;
}

void change_role(Transaction& tx, const Request& request, const std::string& user_id, std::string_view name) {
  storage::UserChange change;
  change.role = std::string(name);
  if (!UserStore(tx, request.principal.organization_id).update(user_id, change)) throw no_such("user", user_id, "user_id");
}

void audit_assignment(Transaction& tx, const Request& request, const char* type, const std::string& user_id, std::string_view role) {
  audit(tx, request, type,
        {{"id", std::string(role) + ":" + user_id},
         {"principal_id", user_id},
         {"principal_type", "user"},
         {"resource_id", request.principal.organization_id},
         {"resource_type", kResource}});
}

/// One row at most, so its cursor has nothing behind it.
json::object list_roles(Transaction& tx, const Request& request) {
  const auto page = page_request(request, ListRules{.most = kMostRoles, .least = 0});
  const storage::User user = user_of(tx, request);
  const Role& role = role_named(user.role);
  if (page.after && *page.after != role.id) throw base::bad_request("invalid_value", "after names no role of this user.", "after");
  json::array data;
  if (!page.after && page.limit > 0) data.push_back(assigned_shape(role, user));
  json::object list;
  list["object"] = "list";
  list["data"] = std::move(data);
  list["has_more"] = !page.after && page.limit == 0;
  list["next"] = nullptr;
  return list;
}

/// In place of the one that the person has.
json::object assign_role(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  const std::string id = fields.required("role_id", fields.text("role_id", kMostId));
  const Role* role = find_role(id);
  storage::User user = user_of(tx, request);
  if (!role) throw no_such("role", id, "role_id");
  if (user.role != role->name) {
    change_role(tx, request, user.id, role->name);
    audit_assignment(tx, request, "role.assignment.created", user.id, role->id);
    user.role = role->name;
  }
  json::object named = common_shape(*role);
  named["object"] = "role";
  json::object shape;
  shape["object"] = "user.role";
  shape["user"] = user_shape(user);
  shape["role"] = std::move(named);
  return shape;
}

json::object get_role(Transaction& tx, const Request& request) {
  const storage::User user = user_of(tx, request);
  return assigned_shape(assigned_role(user, request), user);
}

/// Who loses the other role is a reader, which everyone is at the least.
json::object unassign_role(Transaction& tx, const Request& request) {
  const storage::User user = user_of(tx, request);
  const Role& role = assigned_role(user, request);
  if (role.name == kLeast)
    throw base::bad_request("role_is_required", "Everyone has at least the role reader: remove the user from the organization instead.", "role_id");
  change_role(tx, request, user.id, kLeast);
  audit_assignment(tx, request, "role.assignment.deleted", user.id, role.id);
  json::object shape;
  shape["object"] = "user.role.deleted";
  shape["deleted"] = true;
  return shape;
}

}  // namespace

void add_user_role_routes(Router& router, const Platform& platform) {
  const std::string all = "/v1/organization/users/{user_id}/roles";
  const std::string one = all + "/{role_id}";
  add_admin_route(router, platform, "GET", all, list_roles);
  add_admin_route(router, platform, "POST", all, assign_role);
  add_admin_route(router, platform, "GET", one, get_role);
  add_admin_route(router, platform, "DELETE", one, unassign_role);
}

}  // namespace finetuned::gateway
