#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/money.h"
#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// A project's prepaid account. credited = available + held + spent.
struct Balance {
  base::NanoDollars available;
  base::NanoDollars held;
  base::NanoDollars spent;
  base::NanoDollars credited;
};

enum class TransferKind { kSingle, kPending, kPost, kVoid, kExpire, kCorrection };
std::string to_string(TransferKind kind);

/// A row of the ledger, as billing/transfers shows it.
struct Transfer {
  std::string id;  ///< UUID
  std::string project_id;
  TransferKind kind = TransferKind::kSingle;
  std::string debit_account;   ///< `prepaid`, `revenue` or `funding`
  std::string credit_account;
  base::NanoDollars amount;
  std::optional<std::string> pending_id;
  std::optional<std::string> job_id;
  std::optional<std::int64_t> price_version;
  std::string reason;
  std::int64_t created_at = 0;
};

/// The account lacks this much. Nothing was written; the transaction is still good.
struct InsufficientFunds : std::runtime_error {
  base::NanoDollars available;
  base::NanoDollars needed;
  InsufficientFunds(base::NanoDollars has, base::NanoDollars needs);
  base::NanoDollars shortfall() const { return {needed.value - available.value}; }
};

/// The transfer id is in the ledger with other contents, or the hold is resolved already by another transfer.
struct TransferConflict : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The double-entry ledger of USD_NANO. Each method is idempotent by its transfer id (base::make_uuid): the same call
/// again moves nothing and returns false. A project's account rows are locked in the order of their ids; lock the job
/// row first where one is involved.
class Ledger {
 public:
  explicit Ledger(postgres::Transaction& tx) : tx_(tx) {}

  /// Adds `amount` > 0 of credit: funding -> prepaid.
  bool credit(const std::string& transfer_id, const std::string& project_id, base::NanoDollars amount,
              const std::string& reason);
  /// Sets `amount` > 0 aside for a job: pending, prepaid -> revenue. Throws InsufficientFunds.
  bool hold(const std::string& transfer_id, const std::string& project_id, base::NanoDollars amount,
            const std::string& job_id, std::int64_t price_version);
  /// Charges `amount` (0 < amount <= the hold) of a hold and gives the rest back. Throws TransferConflict.
  bool post(const std::string& transfer_id, const std::string& hold_id, base::NanoDollars amount,
            const std::string& reason);
  /// Gives the whole hold back.
  bool release(const std::string& transfer_id, const std::string& hold_id, const std::string& reason);

  /// Zeros where the project has no accounts yet.
  Balance balance(const std::string& project_id);
  std::optional<Transfer> find(const std::string& transfer_id);
  storage::Page<Transfer> list(const std::string& project_id, const storage::PageRequest& request);

 private:
  bool resolve(const std::string& transfer_id, const std::string& hold_id, base::NanoDollars charged,
               const std::string& reason);
  postgres::Transaction& tx_;
};

/// One broken rule: the first bad row of its kind and by how much.
struct LedgerFault {
  std::string rule;  ///< `I1`..`I5`, as in trust.md
  std::string detail;
};

struct LedgerVerification {
  std::int64_t accounts = 0;
  std::int64_t transfers = 0;
  std::int64_t usages = 0;
  std::vector<LedgerFault> faults;
};

/// Replays everything, each rule in one statement and so in one snapshot: I1 sums of debits and credits agree, posted and pending; I2 no prepaid account
/// is overdrawn; I3 cached balances are the replay of the transfers; I4 a settled job's hold is resolved by exactly
/// one transfer, an unfinished one's by none; I5 a job's usage is its trained tokens and its charge is their price.
/// System scope.
LedgerVerification verify_ledger(postgres::Transaction& tx);

}  // namespace finetuned::billing
