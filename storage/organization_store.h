#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

struct Organization {
  std::string id;  ///< `org-...`
  std::string name;
  std::int64_t created_at = 0;  ///< Unix seconds, as everywhere in the stores
};

struct Project {
  std::string id;  ///< `proj-...`
  std::string organization_id;
  std::string organization_name;
  std::string name;
  std::int64_t created_at = 0;
  std::optional<std::int64_t> archived_at;
};

/// Organizations and their projects. Creating needs the system scope.
class OrganizationStore {
 public:
  explicit OrganizationStore(postgres::Transaction& tx) : tx_(tx) {}

  /// The organization or project of that name, made when there is none: running it again changes nothing.
  Organization ensure_organization(const std::string& name);
  Project ensure_project(const std::string& organization_id, const std::string& name);

  std::optional<Organization> find_organization(const std::string& id);
  std::optional<Organization> find_organization_by_name(const std::string& name);
  std::optional<Project> find_project(const std::string& id);
  /// The organization's project; nullopt for another's.
  std::optional<Project> find_project_of(const std::string& organization_id, const std::string& id);
  /// The same, locked until the transaction ends: what depends on `archived_at` stays true.
  std::optional<Project> lock_project_of(const std::string& organization_id, const std::string& id);
  /// nullopt where the organization has a project of that name, archived or not.
  std::optional<Project> create_project(const std::string& organization_id, const std::string& name);
  /// False where another project has that name.
  bool rename_project(const std::string& id, const std::string& name);
  void archive_project(const std::string& id);
  Page<Project> list_projects_of(const std::string& organization_id, bool with_archived, const PageRequest& request);
  /// Of one organization, or of all.
  Page<Project> list_projects(const std::optional<std::string>& organization_id, const PageRequest& request);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
