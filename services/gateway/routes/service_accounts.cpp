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
using storage::ServiceAccountStore;

namespace {

constexpr std::size_t kMostName = 100;
constexpr const char* kFirstKeyName = "Secret Key";

base::ApiError no_account(const Request& request) {
  return no_such("service_account", request.params.at(1), "service_account_id");
}

storage::ServiceAccount find_account(Transaction& tx, const storage::Project& project, const Request& request) {
  const auto account = ServiceAccountStore(tx).find(project.id, request.params.at(1));
  if (!account) throw no_account(request);
  return *account;
}

void audit_key(Transaction& tx, const Request& request, const storage::NewKey& made) {
  audit(tx, request, "api_key.created", {{"id", made.key.id}, {"data", {{"name", made.key.name}}}}, made.key.project_id);
}

json::object list_accounts(Transaction& tx, const Request& request) {
  const auto page = page_request(request, ListRules{});
  return cursor_list(ServiceAccountStore(tx).list(own_project(tx, request).id, page), service_account_shape);
}

/// With its first key, or for `create_service_account_only` without one and without access to the project.
json::object create_account(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  const std::string name = fields.required("name", fields.text("name", kMostName));
  const bool alone = fields.boolean("create_service_account_only").value_or(false);
  const storage::Project project = open_project(tx, request);
  const auto account = ServiceAccountStore(tx).create(project.id, name, alone ? "none" : "member");
  json::object shape = service_account_shape(account);
  shape["api_key"] = nullptr;
  std::optional<storage::NewKey> made;
  if (!alone) {
    made = storage::KeyStore(tx).create_account_key(account, kFirstKeyName);
    shape["api_key"] = account_key_shape(*made);
  }
  audit(tx, request, "service_account.created", {{"id", account.id}, {"data", {{"role", account.role}}}}, project.id);
  if (made) audit_key(tx, request, *made);
  return shape;
}

json::object get_account(Transaction& tx, const Request& request) {
  return service_account_shape(find_account(tx, own_project(tx, request), request));
}

json::object update_account(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  const auto name = fields.text("name", kMostName);
  const auto role = fields.choice("role", {"member", "owner"});
  const storage::Project project = open_project(tx, request);
  if (!name && !role) return service_account_shape(find_account(tx, project, request));
  const auto account = ServiceAccountStore(tx).update(project.id, request.params.at(1), name, role);
  if (!account) throw no_account(request);
  json::object changes;
  if (name) changes["name"] = *name;
  if (role) changes["role"] = *role;
  audit(tx, request, "service_account.updated", {{"id", account->id}, {"changes_requested", changes}}, project.id);
  return service_account_shape(*account);
}

json::object delete_account(Transaction& tx, const Request& request) {
  const storage::Project project = open_project(tx, request);
  const std::string& id = request.params.at(1);
  if (!ServiceAccountStore(tx).remove(project.id, id)) throw no_account(request);
  audit(tx, request, "service_account.deleted", {{"id", id}}, project.id);
  return deleted_shape(id, "organization.project.service_account.deleted");
}

/// The body may be left out.
json::object create_key(Transaction& tx, const Request& request) {
  const json::object body = request.body.empty() ? json::object() : parse_body(request.body);
  const BodyFields fields(body);
  const auto name = fields.text("name", kMostName);
  if (const json::value* scopes = fields.find("scopes"); scopes && (!scopes->is_array() || !scopes->get_array().empty()))
    fields.refuse("scopes", "a key opens the whole of its project");
  const storage::Project project = open_project(tx, request);
  const storage::ServiceAccount account = find_account(tx, project, request);
  if (account.role == "none")
    throw base::bad_request("service_account_without_access",
                            "The service account has no access to the project: set its role to member or owner first.",
                            "service_account_id");
  const auto made = storage::KeyStore(tx).create_account_key(account, name.value_or(kFirstKeyName));
  audit_key(tx, request, made);
  return account_key_shape(made);
}

}  // namespace

void add_service_account_routes(Router& router, const Platform& platform) {
  const std::string all = "/v1/organization/projects/{project_id}/service_accounts";
  const std::string one = all + "/{service_account_id}";
  add_admin_route(router, platform, "GET", all, list_accounts);
  add_admin_create_route(router, platform, all, create_account);
  add_admin_route(router, platform, "GET", one, get_account);
  add_admin_route(router, platform, "POST", one, update_account);
  add_admin_route(router, platform, "DELETE", one, delete_account);
  add_admin_create_route(router, platform, one + "/api_keys", create_key);
}

}  // namespace finetuned::gateway
