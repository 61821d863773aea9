#include "services/gateway/admin.h"
#include "services/gateway/admin_shapes.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;
using storage::KeyStore;

namespace {

/// A key's owner, a service account or the project itself, has access until the project is archived.
std::string access_to(const storage::Project& project) { return project.archived_at ? "inactive" : "active"; }

storage::ApiKey find_key(Transaction& tx, const storage::Project& project, const Request& request) {
  const std::string& id = request.params.at(1);
  const auto key = KeyStore(tx).find_project_key(project.id, id);
  if (!key) throw no_such("api_key", id, "api_key_id");
  return *key;
}

json::object list_keys(Transaction& tx, const Request& request) {
  const auto page = page_request(request, ListRules{});
  const auto wanted = request.query_value("owner_project_access").value_or("any");
  if (wanted != "any" && wanted != "active" && wanted != "inactive")
    throw base::bad_request("invalid_value", "owner_project_access must be active, inactive or any.", "owner_project_access");
  const storage::Project project = own_project(tx, request);
  const std::string access = access_to(project);
  storage::Page<storage::ApiKey> keys;
  if (wanted == "any" || wanted == access) keys = KeyStore(tx).list_project_keys(project.id, page);
  return cursor_list(keys, [&](const storage::ApiKey& key) { return project_key_shape(key, access); });
}

json::object get_key(Transaction& tx, const Request& request) {
  const storage::Project project = own_project(tx, request);
  return project_key_shape(find_key(tx, project, request), access_to(project));
}

json::object delete_key(Transaction& tx, const Request& request) {
  const storage::Project project = own_project(tx, request);
  const storage::ApiKey key = find_key(tx, project, request);
  if (key.service_account)
    throw base::bad_request("service_account_key", "The key " + key.id + " belongs to the service account " +
                                                       key.service_account->id + ": its keys go when it is deleted.",
                            "api_key_id");
  if (!KeyStore(tx).revoke(key.id)) throw no_such("api_key", key.id, "api_key_id");
  audit(tx, request, "api_key.deleted", {{"id", key.id}}, project.id);
  return deleted_shape(key.id, "organization.project.api_key.deleted");
}

}  // namespace

void add_project_key_routes(Router& router, const Platform& platform) {
  add_admin_route(router, platform, "GET", "/v1/organization/projects/{project_id}/api_keys", list_keys);
  add_admin_route(router, platform, "GET", "/v1/organization/projects/{project_id}/api_keys/{api_key_id}", get_key);
  add_admin_route(router, platform, "DELETE", "/v1/organization/projects/{project_id}/api_keys/{api_key_id}", delete_key);
}

}  // namespace finetuned::gateway
