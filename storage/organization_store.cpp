#include "storage/organization_store.h"

#include "base/ids.h"
#include "storage/cursor.h"

namespace finetuned::storage {

namespace {

constexpr char kSelectOrganization[] =
    "SELECT id, name, extract(epoch FROM created_at)::bigint AS created_at FROM organization WHERE ";
constexpr char kProjectColumns[] =
    "project.id, organization_id, organization.name AS organization_name, project.name,"
    " extract(epoch FROM project.created_at)::bigint AS created_at,"
    " extract(epoch FROM archived_at)::bigint AS archived_at";
constexpr char kProjectFrom[] = "project JOIN organization ON organization.id = organization_id";
const std::string kSelectProject = std::string("SELECT ") + kProjectColumns + " FROM " + kProjectFrom + " WHERE ";

Organization read_organization(const postgres::Row& row) {
  return {row.text("id"), row.text("name"), row.integer("created_at")};
}

Project read_project(const postgres::Row& row) {
  return {row.text("id"),   row.text("organization_id"), row.text("organization_name"),
          row.text("name"), row.integer("created_at"),   row.maybe_integer("archived_at")};
}

std::optional<Project> maybe_project(const postgres::Result& rows) {
  if (rows.empty()) return std::nullopt;
  return read_project(rows.row(0));
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
  const auto rows = tx_.execute(kSelectProject + "organization_id = $1 AND project.name = $2",
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
  return maybe_project(tx_.execute(kSelectProject + "project.id = $1", {id}));
}

std::optional<Project> OrganizationStore::find_project_of(const std::string& organization_id, const std::string& id) {
  return maybe_project(tx_.execute(kSelectProject + "organization_id = $1 AND project.id = $2", {organization_id, id}));
}

std::optional<Project> OrganizationStore::lock_project_of(const std::string& organization_id, const std::string& id) {
  return maybe_project(tx_.execute(kSelectProject + "organization_id = $1 AND project.id = $2 FOR NO KEY UPDATE OF project",
                                   {organization_id, id}));
}

std::optional<Project> OrganizationStore::create_project(const std::string& organization_id, const std::string& name) {
  const std::string id = base::make_id("proj");
  const auto made = tx_.execute(
      "INSERT INTO project (id, organization_id, name) VALUES ($1, $2, $3)"
      " ON CONFLICT (organization_id, name) DO NOTHING",
      {id, organization_id, name});
  if (made.affected_rows() == 0) return std::nullopt;
  return find_project(id);
}

bool OrganizationStore::rename_project(const std::string& id, const std::string& name) {
  // A name taken at this very moment by another transaction ends in the unique constraint: the caller's to catch.
  return tx_.execute("UPDATE project SET name = $2 WHERE id = $1 AND NOT EXISTS (SELECT FROM project other"
                     " WHERE other.organization_id = project.organization_id AND other.name = $2 AND other.id <> $1)",
                     {id, name})
             .affected_rows() == 1;
}

void OrganizationStore::archive_project(const std::string& id) {
  tx_.execute("UPDATE project SET archived_at = clock_timestamp() WHERE id = $1 AND archived_at IS NULL", {id});
}

Page<Project> OrganizationStore::list_projects_of(const std::string& organization_id, bool with_archived,
                                                  const PageRequest& request) {
  return read_listing(tx_, request,
                      {.table = "project", .key = "id", .columns = kProjectColumns, .from = kProjectFrom,
                       .owner = "organization_id = $1", .shown = "$2 OR archived_at IS NULL",
                       .owner_values = {organization_id}, .shown_values = {with_archived}},
                      read_project);
}

Page<Project> OrganizationStore::list_projects(const std::optional<std::string>& organization_id,
                                               const PageRequest& request) {
  return read_page(tx_, request, "project", "id", "organization_id",
                   kSelectProject + "($1::text IS NULL OR organization_id = $1)", {organization_id},
                   read_project);
}

}  // namespace finetuned::storage
