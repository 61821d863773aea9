#include "billing/credit_limits.h"

#include "base/expects.h"
#include "storage/audit_store.h"

namespace finetuned::billing {

Balance set_credit_limit(postgres::Transaction& tx, const storage::Project& project, Amount limit,
                         const std::optional<std::string>& actor_key_id) {
  base::expects(limit <= kMostCredit, "a credit limit within its bound");
  Ledger ledger(tx);
  const bool changed = ledger.set_credit_limit(project.id, limit);
  const Balance balance = ledger.balance(project.id);
  if (changed)
    storage::AuditStore(tx).record({project.organization_id, project.id, "credit_limit.updated", actor_key_id,
                                    {{"id", project.id}, {"changes_requested", {{"credit_limit", std::to_string(limit.value)}}}}});
  return balance;
}

}  // namespace finetuned::billing
