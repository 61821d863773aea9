#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "billing/quote.h"
#include "billing/transfer.h"
#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// What a micro-point is worth in training: a point trains for a dollar of the price table.
inline constexpr std::int64_t kNanoPerMicroPoint = 1'000;
/// The points that pay for `nano` >= 0 nano-dollars: ceil(nano / kNanoPerMicroPoint).
std::int64_t micro_points_worth(std::int64_t nano);

/// An amount of nano-dollars between a project's points and its dollars. by_points + dollars is all of it, to the
/// nano-dollar; points = ceil(by_points / kNanoPerMicroPoint).
struct PaymentSplit {
  Amount points;     ///< micro-points
  Amount by_points;  ///< nano-dollars that they stand for
  Amount dollars;    ///< nano-dollars
};

/// A price before the run. `points`: all of it, a part of a micro-point counting as one. `points_then_usd`: the same where
/// the project has as many points, else all that it has, each worth kNanoPerMicroPoint, and dollars for the rest.
PaymentSplit split_price(storage::Payment payment, Amount price, Amount points_available);
/// A bill of at most what `held` is for. Points pay first, in whole micro-points; what is left below one is paid by the
/// dollars that are held, and where these do not reach by one micro-point more.
PaymentSplit split_bill(const PaymentSplit& held, Amount bill);

/// The holds of a job, and what they are for; an absent one holds nothing. `points` and `liquidity` come together.
struct JobHolds {
  std::optional<std::string> dollars, points, liquidity;
  PaymentSplit split;
};

/// Checks the month's quotas (quotas.h) and holds a quote as job.payment says. Throws ApiError 429 `insufficient_quota`
/// with the shortfall, or check_month's, before anything is written.
JobHolds hold_price(postgres::Transaction& tx, const storage::NewJob& job, const Quote& quote);
/// In words for the job's events, such as `$0.0018` or `1.5 points and $0.2`.
std::string in_words(const PaymentSplit& split);

/// What the holds of a job are for. Zeros where it has none.
PaymentSplit split_held(postgres::Transaction& tx, const storage::Job& job);
/// What was charged of them. Zeros before the job is settled.
PaymentSplit split_charged(postgres::Transaction& tx, const storage::Job& job);
/// Resolves every hold of an ended job: a post of its part of the bill, or a void where that is nothing.
void settle_holds(postgres::Transaction& tx, const storage::Job& job, Amount bill, std::int64_t tokens);

}  // namespace finetuned::billing
