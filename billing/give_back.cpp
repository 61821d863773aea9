#include "billing/give_back.h"

#include <algorithm>
#include <vector>

#include "base/ids.h"
#include "billing/ledger.h"
#include "billing/points_payment.h"

namespace finetuned::billing {

namespace {

using postgres::Transaction;

// A correction of a correction takes back what that gave: it charges as the post does, and can be corrected like it.
#define MOVED                                                                                                              \
  "WITH RECURSIVE moved AS (SELECT t.id, t.ledger, t.debit_id, t.amount, 0 AS depth FROM transfer t WHERE t.job_id = $1"   \
  "  AND t.kind = 'post' UNION ALL SELECT c.id, c.ledger, c.debit_id, c.amount, m.depth + 1 FROM moved m"                  \
  "  JOIN transfer c ON c.corrects_id = m.id AND c.kind = 'correction')"
constexpr char kCharges[] =
    MOVED " SELECT m.id, m.ledger, d.kind, (m.amount - (SELECT coalesce(sum(c.amount), 0) FROM transfer c WHERE c.corrects_id = m.id"
    "  AND c.kind = 'correction'))::bigint AS left FROM moved m JOIN account d ON d.id = m.debit_id WHERE m.depth % 2 = 0 ORDER BY m.depth";
constexpr char kGivenBack[] =
    MOVED " SELECT coalesce(sum(CASE WHEN depth % 2 = 1 THEN amount ELSE -amount END), 0)::bigint AS amount FROM moved"
    " WHERE depth > 0 AND ledger = 'USD_NANO'";
#undef MOVED

/// What is left of a charge: of its post, and of what charged it again.
struct Charge {
  struct Part {
    std::string id;
    std::int64_t left = 0;
  };
  std::vector<Part> parts;
  std::int64_t left = 0;
};

void correct(Transaction& tx, LedgerName ledger, const Charge& charge, std::int64_t amount, const std::string& reason) {
  for (const Charge::Part& part : charge.parts) {
    const std::int64_t of_it = std::min(amount, part.left);
    if (of_it > 0) Ledger(tx, ledger).correct(base::make_uuid(), part.id, {of_it}, reason);
    amount -= std::max<std::int64_t>(of_it, 0);
  }
}

}  // namespace

PaymentSplit give_back(Transaction& tx, const std::string& job_id, Amount due, const std::string& reason) {
  Charge dollars, by_points, points;
  const auto rows = tx.execute(kCharges, {job_id});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    const bool in_points = ledger_named(row.text("ledger")) == LedgerName::kPointsMicro;
    Charge& charge = in_points ? points : row.text("kind") == to_string(AccountKind::kLiquidity) ? by_points : dollars;
    charge.parts.push_back({row.text("id"), row.integer("left")});
    charge.left += row.integer("left");
  }
  const std::int64_t all = std::max<std::int64_t>(0, dollars.left + by_points.left - due.value);
  const std::int64_t in_dollars = std::min(all, dollars.left), for_points = all - in_dollars;
  correct(tx, LedgerName::kUsdNano, dollars, in_dollars, reason);
  correct(tx, LedgerName::kUsdNano, by_points, for_points, reason);
  const std::int64_t in_points = std::max<std::int64_t>(0, points.left - micro_points_worth(by_points.left - for_points));
  correct(tx, LedgerName::kPointsMicro, points, in_points, reason);
  return {{in_points}, {for_points}, {in_dollars}};
}

Amount given_back(Transaction& tx, const std::string& job_id) {
  return {tx.execute(kGivenBack, {job_id}).row(0).integer("amount")};
}

}  // namespace finetuned::billing
