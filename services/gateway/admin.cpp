#include "services/gateway/admin.h"

#include <algorithm>

#include "services/gateway/idempotency.h"
#include "services/gateway/key_cache.h"
#include "storage/audit_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;

void add_admin_route(Router& router, const Platform& platform, const char* method, std::string_view path,
                     AdminHandler handler) {
  router.add(method, path, Access::kAdmin, [&platform, handler](const Request& request) {
    Response response = json_response(platform.database.transact(
        postgres::Scope::system(), [&](Transaction& tx) { return handler(tx, request); }));
    if (request.method != "GET") platform.keys.forget_all();
    return response;
  });
}

void add_admin_create_route(Router& router, const Platform& platform, std::string_view path, AdminHandler handler) {
  router.add("POST", path, Access::kAdmin, [&platform, handler](const Request& request) {
    Response response = json_response(platform.database.transact(postgres::Scope::system(), [&](Transaction& tx) {
      return answer_once(tx, platform, request, [&] { return handler(tx, request); });
    }));
    platform.keys.forget_all();
    return response;
  });
}

storage::Project own_project(Transaction& tx, const Request& request) {
  const std::string& id = request.params.at(0);
  const auto project = storage::OrganizationStore(tx).find_project_of(request.principal.organization_id, id);
  if (!project) throw no_such("project", id, "project_id");
  return *project;
}

storage::Project open_project(Transaction& tx, const Request& request) {
  const std::string& id = request.params.at(0);
  const auto project = storage::OrganizationStore(tx).lock_project_of(request.principal.organization_id, id);
  if (!project) throw no_such("project", id, "project_id");
  if (project->archived_at)
    throw base::bad_request("project_archived", "The project " + id + " is archived and takes no changes.", "project_id");
  return *project;
}

base::ApiError no_such(const std::string& kind, const std::string& id, const std::optional<std::string>& param) {
  std::string words = kind;
  std::replace(words.begin(), words.end(), '_', ' ');
  return {404, "invalid_request_error", kind + "_not_found", "No such " + words + ": " + id, param};
}

void audit(Transaction& tx, const Request& request, const std::string& type, json::object payload,
           const std::optional<std::string>& project_id) {
  storage::AuditStore(tx).record({.organization_id = request.principal.organization_id,
                                  .project_id = project_id,
                                  .type = type,
                                  .actor_key_id = request.principal.key_id,
                                  .payload = std::move(payload)});
}

storage::Spender spender_of(Transaction& tx, const Request& request, bool open) {
  storage::Spender spender{request.principal.organization_id, std::nullopt};
  if (request.segments.at(2) == "projects")
    spender.project_id = open ? open_project(tx, request).id : own_project(tx, request).id;
  return spender;
}

std::string spender_object(const storage::Spender& spender, const std::string& what) {
  return (spender.project_id ? "project." : "organization.") + what;
}

std::vector<std::string> query_list(const Request& request, std::string_view name) {
  std::vector<std::string> values;
  for (const auto& [key, value] : request.query)
    if (key == name || key == std::string(name) + "[]") values.push_back(value);
  return values;
}

bool query_flag(const Request& request, std::string_view name) {
  const auto value = request.query_value(name);
  if (!value || *value == "false") return false;
  if (*value == "true") return true;
  throw base::bad_request("invalid_value", std::string(name) + " must be true or false.", std::string(name));
}

}  // namespace finetuned::gateway
