#include "billing/transfer.h"

#include <stdexcept>
#include <utility>

#include "base/expects.h"

namespace finetuned::billing {

namespace {

constexpr std::pair<TransferKind, std::string_view> kKinds[] = {
    {TransferKind::kSingle, "single"}, {TransferKind::kPending, "pending"}, {TransferKind::kPost, "post"},
    {TransferKind::kVoid, "void"},     {TransferKind::kExpire, "expire"},   {TransferKind::kCorrection, "correction"}};
constexpr std::pair<LedgerName, std::string_view> kLedgers[] = {{LedgerName::kUsdNano, "USD_NANO"},
                                                                {LedgerName::kPointsMicro, "POINTS_MICRO"}};

}  // namespace

std::string to_string(TransferKind kind) {
  for (const auto& [known, word] : kKinds)
    if (known == kind) return std::string(word);
  base::broken_invariant("a kind of transfer that has a name", std::source_location::current());
}

TransferKind kind_named(std::string_view name) {
  for (const auto& [kind, word] : kKinds)
    if (name == word) return kind;
  throw std::invalid_argument("'" + std::string(name) + "' is no kind of transfer");
}

std::string to_string(LedgerName ledger) {
  for (const auto& [known, word] : kLedgers)
    if (known == ledger) return std::string(word);
  base::broken_invariant("a ledger that has a name", std::source_location::current());
}

LedgerName ledger_named(std::string_view name) {
  for (const auto& [ledger, word] : kLedgers)
    if (name == word) return ledger;
  throw std::invalid_argument("'" + std::string(name) + "' is no ledger");
}

const char kTransferColumns[] =
    "transfer.id, transfer.seq, transfer.project_id, transfer.ledger, transfer.kind, transfer.debit_id, transfer.credit_id,"
    " transfer.amount, transfer.pending_id, transfer.corrects_id, transfer.job_id, transfer.price_version, transfer.reason,"
    " CASE WHEN isfinite(transfer.created_at) THEN (extract(epoch FROM transfer.created_at) * 1000000)::bigint ELSE 0 END"
    " AS created_micros";

Transfer read_transfer(const postgres::Row& row) {
  return {.id = row.text("id"),
          .seq = row.integer("seq"),
          .project_id = row.text("project_id"),
          .ledger = ledger_named(row.text("ledger")),
          .kind = kind_named(row.text("kind")),
          .debit_id = row.integer("debit_id"),
          .credit_id = row.integer("credit_id"),
          .debit_account = {},
          .credit_account = {},
          .amount = {row.integer("amount")},
          .pending_id = row.maybe_text("pending_id"),
          .corrects_id = row.maybe_text("corrects_id"),
          .job_id = row.maybe_text("job_id"),
          .price_version = row.maybe_integer("price_version"),
          .reason = row.text("reason"),
          .created_micros = row.integer("created_micros")};
}

std::string to_string(AccountKind kind) {
  switch (kind) {
    case AccountKind::kPrepaid: return "prepaid";
    case AccountKind::kRevenue: return "revenue";
    case AccountKind::kFunding: return "funding";
    case AccountKind::kLiquidity: return "liquidity";
    case AccountKind::kEscrow: return "escrow";
  }
  return "prepaid";
}

bool may_overdraw(AccountKind kind) {
  return kind != AccountKind::kPrepaid && kind != AccountKind::kEscrow;
}

}  // namespace finetuned::billing
