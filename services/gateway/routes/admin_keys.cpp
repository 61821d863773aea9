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

namespace {

constexpr std::size_t kMostName = 100;
constexpr std::int64_t kMostSeconds = 31'536'000;  // a year, as OpenAI has it

storage::Organization own_organization(Transaction& tx, const Request& request) {
  return storage::OrganizationStore(tx).find_organization(request.principal.organization_id).value();
}

storage::ApiKey find_key(Transaction& tx, const Request& request) {
  const std::string& id = request.params.at(0);
  const auto key = storage::KeyStore(tx).find_admin_key(request.principal.organization_id, id);
  if (!key) throw no_such("api_key", id, "key_id");
  return *key;
}

json::object list_keys(Transaction& tx, const Request& request) {
  const auto page = page_request(request, ListRules{.ascending = true});
  const auto organization = own_organization(tx, request);
  return cursor_list(storage::KeyStore(tx).list_admin_keys(organization.id, page),
                     [&](const storage::ApiKey& key) { return admin_key_shape(key, organization); });
}

json::object create_key(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  const std::string name = fields.required("name", fields.text("name", kMostName));
  const auto seconds = fields.integer("expires_in_seconds", 1, kMostSeconds);
  const auto organization = own_organization(tx, request);
  const storage::NewKey made = storage::KeyStore(tx).create_admin_key(organization.id, name, seconds);
  json::object shape = admin_key_shape(made.key, organization);
  shape["value"] = made.secret;
  audit(tx, request, "api_key.created", {{"id", made.key.id}, {"data", {{"name", name}}}});
  return shape;
}

json::object get_key(Transaction& tx, const Request& request) {
  return admin_key_shape(find_key(tx, request), own_organization(tx, request));
}

json::object delete_key(Transaction& tx, const Request& request) {
  const storage::ApiKey key = find_key(tx, request);
  if (!storage::KeyStore(tx).revoke(key.id)) throw no_such("api_key", key.id, "key_id");
  audit(tx, request, "api_key.deleted", {{"id", key.id}});
  return deleted_shape(key.id, "organization.admin_api_key.deleted");
}

}  // namespace

void add_admin_key_routes(Router& router, const Platform& platform) {
  add_admin_route(router, platform, "GET", "/v1/organization/admin_api_keys", list_keys);
  add_admin_create_route(router, platform, "/v1/organization/admin_api_keys", create_key);
  add_admin_route(router, platform, "GET", "/v1/organization/admin_api_keys/{key_id}", get_key);
  add_admin_route(router, platform, "DELETE", "/v1/organization/admin_api_keys/{key_id}", delete_key);
}

}  // namespace finetuned::gateway
