#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// That a project may use a model or checkpoint of another project of its organization.
struct CheckpointPermission {
  std::string id;  ///< `cp-...`
  std::string project_id;
  std::int64_t created_at = 0;
};

/// The permissions of one model. What they open is decided by the database (migrations/0011_checkpoint_permissions.sql);
/// ModelStore::find_served finds it. System scope.
class PermissionStore {
 public:
  PermissionStore(postgres::Transaction& tx, std::string organization_id, std::string model)
      : tx_(tx), organization_(std::move(organization_id)), model_(std::move(model)) {}

  /// The project that made the model or checkpoint; nullopt where the organization has none of that name.
  std::optional<std::string> owner();
  /// `*made` tells whether it is new: a project has one permission a model.
  CheckpointPermission ensure(const std::string& project_id, bool* made);
  /// Of one project, or of all.
  Page<CheckpointPermission> list(const std::optional<std::string>& project_id, const PageRequest& request);
  /// The permission that is gone now; nullopt when there is none.
  std::optional<CheckpointPermission> remove(const std::string& id);

 private:
  postgres::Transaction& tx_;
  const std::string organization_;
  const std::string model_;
};

}  // namespace finetuned::storage
