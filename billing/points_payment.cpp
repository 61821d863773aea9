#include "billing/points_payment.h"

#include <algorithm>

#include "base/errors.h"
#include "base/expects.h"
#include "base/ids.h"
#include "billing/ledger.h"
#include "billing/quotas.h"

namespace finetuned::billing {

namespace {

PaymentSplit split_at(Amount all, std::int64_t by_points) {
  return {{micro_points_worth(by_points)}, {by_points}, {all.value - by_points}};
}

[[noreturn]] void refuse_dollars(const InsufficientFunds& error) {
  throw base::ApiError(429, "insufficient_quota", "insufficient_quota",
                       "This job costs " + base::format_dollars(error.needed) + " and the project has " +
                           base::format_dollars(error.available) + " available: " + base::format_dollars(error.shortfall()) +
                           " are missing. Ask your administrator for credit, or train fewer tokens.");
}

[[noreturn]] void refuse_points(Amount needed, Amount available) {
  throw base::ApiError(429, "insufficient_quota", "insufficient_quota",
                       "This job costs " + base::format_points(needed.value) + " and the project has " +
                           base::format_points(available.value) + " to spend: " +
                           base::format_points(needed.value - available.value) +
                           " are missing. Let dollars pay the rest (payment points_then_usd), or train fewer tokens.");
}

/// The amount of a transfer that a query finds; 0 for none.
std::int64_t amount_of(postgres::Transaction& tx, const std::optional<std::string>& hold, const char* query) {
  if (!hold) return 0;
  const auto rows = tx.execute(query, {*hold});
  return rows.empty() ? 0 : rows.row(0).integer("amount");
}

PaymentSplit split_found(postgres::Transaction& tx, const storage::Job& job, const char* query) {
  PaymentSplit split;
  split.dollars = {amount_of(tx, job.hold_transfer_id, query)};
  split.by_points = {amount_of(tx, job.liquidity_hold_id, query)};
  split.points = {amount_of(tx, job.points_hold_id, query)};
  return split;
}

void resolve(postgres::Transaction& tx, LedgerName name, const std::optional<std::string>& hold, Amount charge,
             const storage::Job& job, std::int64_t tokens) {
  if (!hold) return;
  Ledger ledger(tx, name);
  if (charge.value > 0)
    ledger.post(base::make_uuid(), *hold, charge, std::to_string(tokens) + " tokens trained by " + job.id);
  else
    ledger.release(base::make_uuid(), *hold, "nothing to bill for " + job.id);
}

/// The split of a quote, no one else spending of either account until the end.
PaymentSplit lock_split(postgres::Transaction& tx, const storage::NewJob& job, const Quote& quote) {
  Quote nothing = quote;
  nothing.amount = {};
  check_month(tx, job, nothing);  // its locks come before the accounts', whatever dollars will have to pay
  const Amount dollars = Ledger(tx).lock_available(job.project_id);
  const Amount points = Ledger(tx, LedgerName::kPointsMicro).lock_available(job.project_id);
  const PaymentSplit split = split_price(job.payment, quote.amount, points);
  if (split.points > points) refuse_points(split.points, points);
  Quote in_dollars = quote;
  in_dollars.amount = split.dollars;
  in_dollars.tokens = 0;  // counted above
  check_month(tx, job, in_dollars);
  if (split.dollars > dollars) refuse_dollars({LedgerName::kUsdNano, dollars, split.dollars});
  return split;
}

}  // namespace

std::int64_t micro_points_worth(std::int64_t nano) { return nano / kNanoPerMicroPoint + (nano % kNanoPerMicroPoint > 0); }

PaymentSplit split_price(storage::Payment payment, Amount price, Amount points_available) {
  if (payment == storage::Payment::kUsd) return split_at(price, 0);
  if (payment == storage::Payment::kPoints || micro_points_worth(price.value) <= points_available.value)
    return split_at(price, price.value);
  return split_at(price, points_available.value * kNanoPerMicroPoint);  // below the price: it does not overflow
}

PaymentSplit split_bill(const PaymentSplit& held, Amount bill) {
  base::expects(bill.value >= 0 && bill.value <= held.by_points.value + held.dollars.value, "a bill within its holds");
  const std::int64_t whole = std::min(held.by_points.value, bill.value / kNanoPerMicroPoint * kNanoPerMicroPoint);
  const std::int64_t by_dollars = std::min(held.dollars.value, bill.value - whole);
  return split_at(bill, bill.value - by_dollars);
}

JobHolds hold_price(postgres::Transaction& tx, const storage::NewJob& job, const Quote& quote) {
  const bool in_points = job.payment != storage::Payment::kUsd;
  PaymentSplit split = split_at(quote.amount, 0);
  if (in_points)
    split = lock_split(tx, job, quote);
  else
    check_month(tx, job, quote);
  JobHolds holds;
  holds.split = split;
  Ledger ledger(tx);
  if (split.dollars.value > 0) {  // a price of nothing holds nothing
    holds.dollars = base::make_uuid();
    try {
      ledger.hold(*holds.dollars, job.project_id, split.dollars, job.id, quote.price.version);
    } catch (const InsufficientFunds& error) {
      refuse_dollars(error);
    }
  }
  if (split.points.value > 0) {
    holds.liquidity = base::make_uuid();
    holds.points = base::make_uuid();
    ledger.hold_liquidity(*holds.liquidity, job.project_id, split.by_points, job.id, quote.price.version);
    Ledger(tx, LedgerName::kPointsMicro).hold(*holds.points, job.project_id, split.points, job.id, quote.price.version);
  }
  return holds;
}

std::string in_words(const PaymentSplit& split) {
  if (split.points.value == 0) return base::format_dollars(split.dollars);
  std::string text = base::format_points(split.points.value);
  if (split.dollars.value > 0) text += " and " + base::format_dollars(split.dollars);
  return text;
}

PaymentSplit split_held(postgres::Transaction& tx, const storage::Job& job) {
  return split_found(tx, job, "SELECT amount FROM transfer WHERE id = $1::uuid AND kind = 'pending'");
}

PaymentSplit split_charged(postgres::Transaction& tx, const storage::Job& job) {
  return split_found(tx, job, "SELECT amount FROM transfer WHERE pending_id = $1::uuid AND kind = 'post'");
}

void settle_holds(postgres::Transaction& tx, const storage::Job& job, Amount bill, std::int64_t tokens) {
  PaymentSplit charge = split_at(bill, 0);
  if (job.points_hold_id) charge = split_bill(split_held(tx, job), bill);
  resolve(tx, LedgerName::kUsdNano, job.hold_transfer_id, charge.dollars, job, tokens);
  resolve(tx, LedgerName::kUsdNano, job.liquidity_hold_id, charge.by_points, job, tokens);
  resolve(tx, LedgerName::kPointsMicro, job.points_hold_id, charge.points, job, tokens);
}

}  // namespace finetuned::billing
