#include <algorithm>

#include "services/gateway/admin.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/job_request.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "storage/permission_store.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;
using storage::PermissionStore;

namespace {

constexpr int kDefaultPermissions = 10;
constexpr std::size_t kMostProjects = 100;

json::object permission_shape(const storage::CheckpointPermission& permission) {
  return {{"object", "checkpoint.permission"},
          {"id", permission.id},
          {"created_at", permission.created_at},
          {"project_id", permission.project_id}};
}

PermissionStore permissions_of(Transaction& tx, const Request& request) {
  return PermissionStore(tx, request.principal.organization_id, request.params.at(0));
}

/// The project that made the model. Throws ApiError 404 `model_not_found`.
std::string owner_of(PermissionStore& permissions, const Request& request) {
  const auto owner = permissions.owner();
  if (!owner)
    throw base::ApiError(404, "invalid_request_error", "model_not_found",
                         "The organization has no fine-tuned model or checkpoint `" + request.params.at(0) + "`.", "model");
  return *owner;
}

std::vector<std::string> project_ids_of(const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  const json::value* given = fields.required("project_ids", std::optional(fields.find("project_ids")));
  const auto wrong = [](const std::string& where) {
    return base::bad_request("invalid_value", where + ": give 1 to " + std::to_string(kMostProjects) + " ids of projects.", where);
  };
  if (!given || !given->is_array() || given->get_array().empty() || given->get_array().size() > kMostProjects)
    throw wrong("project_ids");
  std::vector<std::string> ids;
  for (const json::value& id : given->get_array()) {
    if (!id.is_string()) throw wrong("project_ids[" + std::to_string(ids.size()) + "]");
    ids.emplace_back(id.get_string());
  }
  return ids;
}

/// What is there already stays as it is.
json::object create_permissions(Transaction& tx, const Request& request) {
  const std::vector<std::string> ids = project_ids_of(request);
  PermissionStore permissions = permissions_of(tx, request);
  const std::string owner = owner_of(permissions, request);
  std::vector<std::string> locked = ids;  // in one order, so that two requests cannot wait for each other
  std::sort(locked.begin(), locked.end());
  for (const std::string& id : locked) {
    const auto project = storage::OrganizationStore(tx).lock_project_of(request.principal.organization_id, id);
    if (!project) throw no_such("project", id, "project_ids");
    if (project->archived_at)
      throw base::bad_request("project_archived", "The project " + id + " is archived and takes no changes.", "project_ids");
    if (id == owner)
      throw base::bad_request("invalid_value", "The project " + id + " made the model and needs no permission.", "project_ids");
  }
  storage::Page<storage::CheckpointPermission> page;
  for (const std::string& id : ids) {
    bool made = false;
    page.data.push_back(permissions.ensure(id, &made));
    if (made)
      audit(tx, request, "checkpoint.permission.created",
            {{"id", page.data.back().id}, {"data", {{"project_id", id}, {"fine_tuned_model_checkpoint", request.params.at(0)}}}},
            id);
  }
  return cursor_list(page, permission_shape);
}

json::object list_permissions(Transaction& tx, const Request& request) {
  const auto page = page_request(request, ListRules{.default_limit = kDefaultPermissions, .whole_words = true});
  std::optional<std::string> project;
  if (const auto asked = request.query_value("project_id"); asked && !asked->empty()) project = std::string(*asked);
  PermissionStore permissions = permissions_of(tx, request);
  owner_of(permissions, request);
  return cursor_list(permissions.list(project, page), permission_shape);
}

json::object delete_permission(Transaction& tx, const Request& request) {
  const std::string& id = request.params.at(1);
  PermissionStore permissions = permissions_of(tx, request);
  owner_of(permissions, request);
  const auto removed = permissions.remove(id);
  if (!removed) throw no_such("checkpoint_permission", id, "permission_id");
  audit(tx, request, "checkpoint.permission.deleted", {{"id", id}}, removed->project_id);
  return deleted_shape(id, "checkpoint.permission");
}

}  // namespace

void add_checkpoint_permission_routes(Router& router, const Platform& platform) {
  const std::string all = "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions";
  add_admin_route(router, platform, "GET", all, list_permissions);
  add_admin_create_route(router, platform, all, create_permissions);
  add_admin_route(router, platform, "DELETE", all + "/{permission_id}", delete_permission);
}

}  // namespace finetuned::gateway
