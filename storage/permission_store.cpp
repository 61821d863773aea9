#include "storage/permission_store.h"

#include "base/ids.h"
#include "storage/cursor.h"

namespace finetuned::storage {

namespace {

constexpr char kColumns[] = "id, project_id, extract(epoch FROM created_at)::bigint AS created_at";
constexpr char kOwner[] =
    "SELECT project.id FROM project WHERE project.organization_id = $1 AND (project.id ="
    "  (SELECT project_id FROM fine_tuned_model WHERE name = $2 AND deleted_at IS NULL)"
    " OR project.id = (SELECT project_id FROM job_checkpoint WHERE model_name = $2 LIMIT 1))";

CheckpointPermission read_permission(const postgres::Row& row) {
  return {row.text("id"), row.text("project_id"), row.integer("created_at")};
}

}  // namespace

std::optional<std::string> PermissionStore::owner() {
  const auto rows = tx_.execute(kOwner, {organization_, model_});
  if (rows.empty()) return std::nullopt;
  return rows.row(0).text("id");
}

CheckpointPermission PermissionStore::ensure(const std::string& project_id, bool* made) {
  const auto inserted = tx_.execute(
      "INSERT INTO checkpoint_permission (id, organization_id, model, project_id) VALUES ($1, $2, $3, $4)"
      " ON CONFLICT (model, project_id) WHERE deleted_at IS NULL DO NOTHING",
      {base::make_id("cp"), organization_, model_, project_id});
  *made = inserted.affected_rows() == 1;
  const auto rows = tx_.execute(std::string("SELECT ") + kColumns + " FROM checkpoint_permission"
                                " WHERE model = $1 AND project_id = $2 AND deleted_at IS NULL FOR SHARE",
                                {model_, project_id});
  if (rows.empty())
    throw base::ApiError(409, "invalid_request_error", "request_in_progress",
                         "The permission is being deleted by another request. Try again.", std::nullopt);
  return read_permission(rows.row(0));
}

Page<CheckpointPermission> PermissionStore::list(const std::optional<std::string>& project_id,
                                                 const PageRequest& request) {
  return read_listing(tx_, request,
                      {.table = "checkpoint_permission", .key = "id", .columns = kColumns, .from = "checkpoint_permission",
                       .owner = "organization_id = $1 AND model = $2",
                       .shown = "deleted_at IS NULL AND ($3::text IS NULL OR project_id = $3)",
                       .owner_values = {organization_, model_}, .shown_values = {project_id}},
                      read_permission);
}

std::optional<CheckpointPermission> PermissionStore::remove(const std::string& id) {
  const auto rows = tx_.execute(std::string("UPDATE checkpoint_permission SET deleted_at = clock_timestamp()"
                                            " WHERE organization_id = $1 AND model = $2 AND id = $3 AND deleted_at IS NULL"
                                            " RETURNING ") + kColumns,
                                {organization_, model_, id});
  if (rows.empty()) return std::nullopt;
  return read_permission(rows.row(0));
}

}  // namespace finetuned::storage
