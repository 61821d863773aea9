#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "billing/transfer.h"
#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// A project's prepaid account. credited + credit_limit = available + held + spent.
struct Balance {
  Amount available;  ///< for new holds; below 0 where the credit limit was lowered below what is used of it
  Amount held;
  Amount spent;
  Amount credited;
  Amount credit_limit;  ///< how much it may owe; 0: prepaid
};

/// The account lacks this much. Nothing was written; the transaction is still good.
struct InsufficientFunds : std::runtime_error {
  Amount available;
  Amount needed;
  InsufficientFunds(LedgerName ledger, Amount has, Amount needs);
  Amount shortfall() const { return {needed.value - available.value}; }
};

/// The transfer id is in the ledger with another body (the message names the first thing that differs), the hold is
/// resolved already by another transfer, or a charge or correction is more than what it draws on. Nothing was written.
struct TransferConflict : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A double-entry ledger. Each method is idempotent by its transfer id (base::make_uuid): the same call again moves nothing
/// and returns false; another body under the id throws TransferConflict. Accounts are locked in the order of their ids;
/// lock the job row first where one is involved.
///
/// A project has its accounts a ledger (AccountKind), made when they are first moved; of `prepaid` it never owes more than its
/// credit limit. Where both ledgers move in one transaction, dollars are locked before points.
class Ledger {
 public:
  explicit Ledger(postgres::Transaction& tx, LedgerName ledger = LedgerName::kUsdNano) : tx_(tx), ledger_(ledger) {}

  /// Adds `amount` > 0 of credit: `single`, funding -> prepaid.
  bool credit(const std::string& transfer_id, const std::string& project_id, Amount amount, const std::string& reason);
  /// Sets `amount` > 0 aside for a job: `pending`, prepaid -> revenue, and of points prepaid -> liquidity. Throws
  /// InsufficientFunds.
  bool hold(const std::string& transfer_id, const std::string& project_id, Amount amount, const std::string& job_id,
            std::int64_t price_version);
  /// The same for a request to a model (inference_charge.h).
  bool hold_request(const std::string& transfer_id, const std::string& project_id, Amount amount, const std::string& request_id);
  /// The same out of `liquidity` -> revenue: dollars that the job's points stand for.
  bool hold_liquidity(const std::string& transfer_id, const std::string& project_id, Amount amount, const std::string& job_id,
                      std::int64_t price_version);
  /// Moves `amount` > 0 at once: `single`. Throws InsufficientFunds.
  bool move_between(const std::string& transfer_id, const std::string& project_id, AccountKind from, AccountKind to,
                    Amount amount, const std::string& reason);
  /// Charges `amount` (0 < amount <= the hold) of a hold and gives the rest back.
  bool post(const std::string& transfer_id, const std::string& hold_id, Amount amount, const std::string& reason);
  /// Gives the whole hold back: `void`.
  bool release(const std::string& transfer_id, const std::string& hold_id, const std::string& reason);
  /// Gives the whole hold back because its time was over: `expire`.
  bool expire(const std::string& transfer_id, const std::string& hold_id, const std::string& reason);
  /// Moves `amount` > 0 of an earlier `single`, `post` or `correction` back, with the other corrections of it at most what
  /// that moved. Throws InsufficientFunds where a credit is corrected that is spent.
  bool correct(const std::string& transfer_id, const std::string& corrected_id, Amount amount, const std::string& reason);

  /// How far `prepaid` may be overdrawn, from the next hold on; holds that are there stay, and are charged. False where it is the
  /// limit already. Dollars only. Through set_credit_limit (credit_limits.h), which also writes it into the audit log.
  bool set_credit_limit(const std::string& project_id, Amount limit);

  /// Zeros where the project has no accounts yet.
  Balance balance(const std::string& project_id);
  /// What is in `escrow`.
  Amount escrowed(const std::string& project_id);
  /// What may be spent, no one else spending until the transaction ends.
  Amount lock_available(const std::string& project_id);
  std::optional<Transfer> find(const std::string& transfer_id);
  storage::Page<Transfer> list(const std::string& project_id, const storage::PageRequest& request);

 private:
  struct Pair;
  struct Debit;
  struct Effect;
  Pair lock_pair(const std::string& project_id, AccountKind from, AccountKind to);
  bool hold_from(AccountKind from, Transfer transfer);
  Debit lock_debit(std::int64_t debit_id, std::int64_t credit_id);
  Transfer new_transfer(const std::string& id, const std::string& project_id, TransferKind kind, Amount amount,
                        const std::string& reason) const;
  bool resolve(TransferKind kind, const std::string& transfer_id, const std::string& hold_id, std::optional<Amount> charged,
               const std::string& reason);
  bool move(const Transfer& transfer, const Effect& effect);
  bool is_known(const Transfer& transfer);
  postgres::Transaction& tx_;
  LedgerName ledger_;
};

}  // namespace finetuned::billing
