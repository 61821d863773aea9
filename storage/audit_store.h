#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

struct NewAuditEntry {
  std::string organization_id;
  std::optional<std::string> project_id;
  std::string type;                         ///< `project.created`, ...
  std::optional<std::string> actor_key_id;  ///< none: the platform's operator
  boost::json::object payload;              ///< has the `id` of what was changed; never a secret
};

struct AuditEntry {
  std::string id;  ///< `auditlog-...`
  std::string type;
  std::int64_t effective_at = 0;
  std::optional<std::string> project_id;
  std::optional<std::string> project_name;
  std::optional<std::string> actor_key_id;
  boost::json::object payload;
};

/// What a list shows: an empty list of values lets everything through.
struct AuditFilter {
  std::optional<std::int64_t> after_second;   ///< effective_at > this
  std::optional<std::int64_t> from_second;    ///< >=
  std::optional<std::int64_t> before_second;  ///< <
  std::optional<std::int64_t> to_second;      ///< <=
  std::vector<std::string> project_ids;
  std::vector<std::string> types;
  std::vector<std::string> actor_ids;
  std::vector<std::string> resource_ids;
  bool nothing = false;  ///< a filter that no entry of ours can pass
};

/// The log of what administrators changed: append only, and chained by the database (migration 0007), one chain an
/// organization. System scope, which `record` takes for its one row where the transaction is a project's.
class AuditStore {
 public:
  explicit AuditStore(postgres::Transaction& tx) : tx_(tx) {}

  /// Writes an entry. Last in its transaction: other changes in the organization wait for its commit from here on.
  void record(const NewAuditEntry& entry);
  Page<AuditEntry> list(const std::string& organization_id, const AuditFilter& filter, const PageRequest& request);

 private:
  postgres::Transaction& tx_;
};

/// Where an organization's chain breaks.
struct AuditFault {
  std::string organization_id;
  std::string entry_id;  ///< the first altered row; where rows are missing, the one behind the gap or the last one left
  std::string detail;
};

struct AuditVerification {
  std::int64_t chains = 0;
  std::int64_t entries = 0;
  std::vector<AuditFault> faults;  ///< at most one an organization, and 100
};

/// Computes every hash again, in one snapshot. System scope.
AuditVerification verify_audit_log(postgres::Transaction& tx);

}  // namespace finetuned::storage
