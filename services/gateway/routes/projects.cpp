#include "billing/archiving.h"
#include "services/gateway/admin.h"
#include "services/gateway/admin_shapes.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/job_request.h"
#include "services/gateway/key_cache.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "storage/postgres/errors.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;
using storage::OrganizationStore;

namespace {

constexpr std::size_t kMostName = 100;

base::ApiError name_taken(const std::string& name) {
  return {409, "invalid_request_error", "project_name_taken",
          "The organization has a project called '" + name + "' already, perhaps an archived one.", "name"};
}

void refuse_what_is_not_there(const BodyFields& fields) {
  fields.refuse("external_key_id", "data is not encrypted with keys of your own");
  fields.refuse("residency", "data stays where this platform runs");
}

json::object list_projects(Transaction& tx, const Request& request) {
  const bool with_archived = query_flag(request, "include_archived");
  return cursor_list(OrganizationStore(tx).list_projects_of(request.principal.organization_id, with_archived,
                                                            page_request(request, ListRules{})),
                     project_shape);
}

json::object create_project(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  const std::string name = fields.required("name", fields.text("name", kMostName));
  refuse_what_is_not_there(fields);
  const auto project = OrganizationStore(tx).create_project(request.principal.organization_id, name);
  if (!project) throw name_taken(name);
  audit(tx, request, "project.created", {{"id", project->id}, {"data", {{"name", name}, {"title", name}}}}, project->id);
  return project_shape(*project);
}

json::object get_project(Transaction& tx, const Request& request) { return project_shape(own_project(tx, request)); }

json::object update_project(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  const auto name = fields.text("name", kMostName);
  refuse_what_is_not_there(fields);
  storage::Project project = open_project(tx, request);
  if (!name || *name == project.name) return project_shape(project);
  try {
    if (!OrganizationStore(tx).rename_project(project.id, *name)) throw name_taken(*name);
  } catch (const postgres::SqlError& error) {
    if (!error.is_unique_violation()) throw;
    throw name_taken(*name);
  }
  project.name = *name;
  audit(tx, request, "project.updated", {{"id", project.id}, {"changes_requested", {{"title", *name}}}}, project.id);
  return project_shape(project);
}

/// A batch a transaction. What a crash leaves, and what are more than these, the metering role ends.
void end_jobs(const Platform& platform, const std::string& project_id) {
  constexpr int kBatch = 100, kMostBatches = 20;
  for (int batch = 0; batch < kMostBatches; ++batch)
    if (platform.database.transact(postgres::Scope::system(), [&](Transaction& tx) {
          return billing::end_archived_jobs(tx, project_id, kBatch);
        }) < kBatch)
      return;
}

/// Its keys open nothing from the commit on: authentication asks the project each time. No job is created either (admission.h), and those
/// that are there end behind it. Archiving twice changes nothing.
json::object archive_project(Transaction& tx, const Request& request) {
  const storage::Project project = own_project(tx, request);
  const auto locked = OrganizationStore(tx).lock_project_of(project.organization_id, project.id);
  if (locked && locked->archived_at) return project_shape(*locked);
  OrganizationStore(tx).archive_project(project.id);
  tx.execute("UPDATE challenge SET closed_at = clock_timestamp() WHERE project_id = $1 AND closed_at IS NULL", {project.id});
  const storage::Project archived = own_project(tx, request);
  audit(tx, request, "project.archived", {{"id", project.id}}, project.id);
  return project_shape(archived);
}

}  // namespace

void add_project_routes(Router& router, const Platform& platform) {
  add_admin_route(router, platform, "GET", "/v1/organization/projects", list_projects);
  add_admin_create_route(router, platform, "/v1/organization/projects", create_project);
  add_admin_route(router, platform, "GET", "/v1/organization/projects/{project_id}", get_project);
  add_admin_route(router, platform, "POST", "/v1/organization/projects/{project_id}", update_project);
  router.add("POST", "/v1/organization/projects/{project_id}/archive", Access::kAdmin, [&platform](const Request& request) {
    const json::object archived = platform.database.transact(postgres::Scope::system(),
                                                             [&](Transaction& tx) { return archive_project(tx, request); });
    platform.keys.forget_all();
    end_jobs(platform, request.params.at(0));
    return json_response(archived);
  });
}

}  // namespace finetuned::gateway
