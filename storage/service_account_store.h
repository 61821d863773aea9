#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

struct ServiceAccount {
  std::string id;  ///< `svcacct-...`
  std::string project_id;
  std::string name;
  std::string role;  ///< `owner`, `member`, or `none`: no access to the project
  std::int64_t created_at = 0;
};

/// Accounts of programs in a project; the owners of keys. System scope.
class ServiceAccountStore {
 public:
  explicit ServiceAccountStore(postgres::Transaction& tx) : tx_(tx) {}

  ServiceAccount create(const std::string& project_id, const std::string& name, const std::string& role);
  std::optional<ServiceAccount> find(const std::string& project_id, const std::string& id);
  Page<ServiceAccount> list(const std::string& project_id, const PageRequest& request);
  /// What is not given stays. nullopt where there is no such account.
  std::optional<ServiceAccount> update(const std::string& project_id, const std::string& id,
                                       const std::optional<std::string>& name, const std::optional<std::string>& role);
  /// The account, and its keys with it. False where there is none.
  bool remove(const std::string& project_id, const std::string& id);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
