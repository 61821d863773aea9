#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/money.h"
#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

struct Settlement {
  std::int64_t billed_tokens = 0;
  base::NanoDollars charged;
  base::NanoDollars returned;  ///< the rest of the hold
  base::NanoDollars given_back;  ///< of what was charged
};

/// Whether a failed job pays nothing, because it failed by our fault: `worker_crashed`, `internal_error`.
bool is_waived(const std::optional<storage::JobError>& error);

/// Ends the money of a job that has reached `succeeded`, `failed` or `cancelled`, in the caller's transaction (the one
/// that ended it): one post or void resolves its hold.
///  - succeeded: its trained tokens, at most the hold;
///  - cancelled, and failed by the user's data or settings: the usage that its committed checkpoints booked;
///  - failed by our fault (is_waived) or before it ran: nothing.
/// Of a job that went back (donation_verdicts.h), what was booked for steps that were not taken again is charged as booked, and given
/// back by a correction (give_back.h), with an event.
///
/// What is committed and not booked yet (usage.h) is booked here. The job's trained_tokens are those that were billed. Empty
/// when the job is settled already or has not ended: calling it again is harmless.
std::optional<Settlement> settle_job(postgres::Transaction& tx, const std::string& job_id);

/// Settles ended jobs that were left open (metering role, system scope). Returns how many.
std::size_t settle_ended_jobs(postgres::Transaction& tx, int most_jobs);

}  // namespace finetuned::billing
