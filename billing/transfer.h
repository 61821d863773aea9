#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/money.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// Each is double entry by itself: a transfer stays within its ledger.
enum class LedgerName { kUsdNano, kPointsMicro };
std::string to_string(LedgerName ledger);        ///< `USD_NANO`, `POINTS_MICRO`
LedgerName ledger_named(std::string_view name);  ///< throws std::invalid_argument for another name

/// In its ledger's unit: nano-dollars, or of POINTS_MICRO millionths of a point.
using Amount = base::NanoDollars;

enum class TransferKind { kSingle, kPending, kPost, kVoid, kExpire, kCorrection };
std::string to_string(TransferKind kind);
TransferKind kind_named(std::string_view name);  ///< throws std::invalid_argument for another name

/// The accounts of a project: `prepaid` what it may spend, `revenue` what it paid, `funding` where its credits came from,
/// `liquidity` where points become dollars (points_payment.h), `escrow` points that are earned and not vested.
enum class AccountKind { kPrepaid, kRevenue, kFunding, kLiquidity, kEscrow };
std::string to_string(AccountKind kind);
bool may_overdraw(AccountKind kind);  ///< all but prepaid and escrow

/// A row of the ledger.
struct Transfer {
  std::string id;  ///< UUID
  std::int64_t seq = 0;
  std::string project_id;
  LedgerName ledger = LedgerName::kUsdNano;
  TransferKind kind = TransferKind::kSingle;
  std::int64_t debit_id = 0;
  std::int64_t credit_id = 0;
  std::string debit_account;  ///< its AccountKind; Ledger::find and ::list tell it
  std::string credit_account;
  Amount amount;
  std::optional<std::string> pending_id;   ///< of a post, void or expire: the hold that it resolves
  std::optional<std::string> corrects_id;  ///< of a correction
  std::optional<std::string> job_id;
  std::optional<std::int64_t> price_version;
  std::string reason;
  std::int64_t created_micros = 0;  ///< since 1970-01-01 UTC

  std::int64_t created_at() const { return created_micros / 1'000'000; }  ///< Unix time
};

/// The columns of the table `transfer` that read_transfer reads. It throws std::invalid_argument where ledger or kind is none
/// that there is: someone took the database's CHECK away.
extern const char kTransferColumns[];
Transfer read_transfer(const postgres::Row& row);

}  // namespace finetuned::billing
