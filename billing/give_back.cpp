#include "billing/give_back.h"

#include <algorithm>
#include <optional>

#include "base/ids.h"
#include "billing/ledger.h"
#include "billing/points_payment.h"

namespace finetuned::billing {

namespace {

using postgres::Transaction;

constexpr char kCharges[] =
    "SELECT t.id, t.ledger, d.kind, t.amount - (SELECT coalesce(sum(c.amount), 0) FROM transfer c WHERE c.corrects_id = t.id)::bigint AS left"
    " FROM transfer t JOIN account d ON d.id = t.debit_id WHERE t.job_id = $1 AND t.kind = 'post'";
constexpr char kGivenBack[] =
    "SELECT coalesce(sum(c.amount), 0)::bigint AS amount FROM transfer t JOIN transfer c ON c.corrects_id = t.id"
    " WHERE t.job_id = $1 AND t.kind = 'post' AND t.ledger = 'USD_NANO'";

/// What is left of a charge.
struct Charge {
  std::string id;
  std::int64_t left = 0;
};

void correct(Transaction& tx, LedgerName ledger, const Charge& charge, std::int64_t amount, const std::string& reason) {
  if (amount > 0) Ledger(tx, ledger).correct(base::make_uuid(), charge.id, {amount}, reason);
}

}  // namespace

Amount give_back(Transaction& tx, const std::string& job_id, Amount due, const std::string& reason) {
  Charge dollars, by_points, points;
  const auto rows = tx.execute(kCharges, {job_id});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    const bool in_points = ledger_named(row.text("ledger")) == LedgerName::kPointsMicro;
    Charge& charge = in_points ? points : row.text("kind") == to_string(AccountKind::kLiquidity) ? by_points : dollars;
    charge.id = row.text("id");
    charge.left = row.integer("left");
  }
  const std::int64_t all = std::max<std::int64_t>(0, dollars.left + by_points.left - due.value);
  const std::int64_t in_dollars = std::min(all, dollars.left), for_points = all - in_dollars;
  correct(tx, LedgerName::kUsdNano, dollars, in_dollars, reason);
  correct(tx, LedgerName::kUsdNano, by_points, for_points, reason);
  correct(tx, LedgerName::kPointsMicro, points, points.left - micro_points_worth(by_points.left - for_points), reason);
  return {all};
}

Amount given_back(Transaction& tx, const std::string& job_id) {
  return {tx.execute(kGivenBack, {job_id}).row(0).integer("amount")};
}

}  // namespace finetuned::billing
