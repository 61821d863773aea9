#include "storage/organization_store.h"

#include "base/ids.h"
#include "storage/cursor.h"

namespace finetuned::storage {

namespace {

constexpr char kSelectOrganization[] =
    "SELECT id, name, extract(epoch FROM created_at)::bigint AS created_at FROM organization WHERE ";
constexpr char kSelectProject[] =
    "SELECT project.id, organization_id, organization.name AS organization_name, project.name,"
    " extract(epoch FROM project.created_at)::bigint AS created_at,"
    " extract(epoch FROM archived_at)::bigint AS archived_at"
    " FROM project JOIN organization ON organization.id = organization_id WHERE ";

Organization read_organization(const postgres::Row& row) {
  return {row.text("id"), row.text("name"), row.integer("created_at")};
}

Project read_project(const postgres::Row& row) {
  return {row.text("id"),   row.text("organization_id"), row.text("organization_name"),
          row.text("name"), row.integer("created_at"),   row.maybe_integer("archived_at")};
}

}  // namespace

Organization OrganizationStore::ensure_organization(const std::string& name) {
  tx_.execute("INSERT INTO organization (id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
              {base::make_id("org"), name});
  return *find_organization_by_name(name);
}

Project OrganizationStore::ensure_project(const std::string& organization_id, const std::string& name) {
  tx_.execute(
      "INSERT INTO project (id, organization_id, name) VALUES ($1, $2, $3)"
      " ON CONFLICT (organization_id, name) DO NOTHING",
      {base::make_id("proj"), organization_id, name});
  const auto rows = tx_.execute(std::string(kSelectProject) + "organization_id = $1 AND project.name = $2",
                                {organization_id, name});
  return read_project(rows.row(0));
}

std::optional<Organization> OrganizationStore::find_organization(const std::string& id) {
  const auto rows = tx_.execute(std::string(kSelectOrganization) + "id = $1", {id});
  if (rows.empty()) return std::nullopt;
  return read_organization(rows.row(0));
}

std::optional<Organization> OrganizationStore::find_organization_by_name(const std::string& name) {
  const auto rows = tx_.execute(std::string(kSelectOrganization) + "name = $1", {name});
  if (rows.empty()) return std::nullopt;
  return read_organization(rows.row(0));
}

std::optional<Project> OrganizationStore::find_project(const std::string& id) {
  const auto rows = tx_.execute(std::string(kSelectProject) + "project.id = $1", {id});
  if (rows.empty()) return std::nullopt;
  return read_project(rows.row(0));
}

Page<Project> OrganizationStore::list_projects(const std::optional<std::string>& organization_id,
                                               const PageRequest& request) {
  return read_page(tx_, request, "project", "id",
                   std::string(kSelectProject) + "($1::text IS NULL OR organization_id = $1)", {organization_id},
                   read_project);
}

}  // namespace finetuned::storage
