#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "billing/transfer.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// What a job has booked: its committed steps, and what they cost.
struct BookedUsage {
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
  Amount amount;
};
BookedUsage booked_usage(postgres::Transaction& tx, const std::string& job_id);
/// What of it stands: all, but of a job that went back (donation_verdicts.h) the steps up to there and those that were committed
/// again since.
BookedUsage standing_usage(postgres::Transaction& tx, const std::string& job_id);

/// Books the steps of a job that are committed now and were not: `tokens_after[k]` are the tokens trained by its first k + 1
/// steps. In the transaction that commits the checkpoint, under the lease that fences it (JobLeases::add_checkpoint,
/// ::succeed): steps that an earlier attempt booked stay as they are, and the database refuses a step that is booked twice.
///
/// A range costs f(tokens to its end) - f(tokens to its beginning), f being base::price_of at the job's price and at most the
/// job's hold: so the sum does not depend on where checkpoints fall. The hold pays it when the job ends (settlement.h).
/// Of a job that went back the steps stand again from here on.
void book_usage(postgres::Transaction& tx, const std::string& job_id, std::int64_t lease_epoch,
                std::span<const std::int64_t> tokens_after);

/// The same for steps of which only the last one's tokens are known.
void book_usage_without_steps(postgres::Transaction& tx, const std::string& job_id, std::int64_t lease_epoch,
                              std::int64_t steps, std::int64_t tokens);

}  // namespace finetuned::billing
