#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/money.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

struct Settlement {
  std::int64_t billed_tokens = 0;
  base::NanoDollars charged;
  base::NanoDollars returned;  ///< the rest of the hold
};

/// Ends the money of a job that has reached `succeeded`, `failed` or `cancelled`, in the caller's transaction (the one
/// that ended it): usage row and charge together, the rest of the hold given back.
///  - succeeded: its trained tokens, at most the hold;
///  - cancelled, and failed by the user's data or settings: the tokens up to its last committed checkpoint;
///  - failed by our fault (`worker_crashed`, `internal_error`) or before it ran: nothing.
/// Empty when the job is settled already or has not ended: calling it again is harmless.
std::optional<Settlement> settle_job(postgres::Transaction& tx, const std::string& job_id);

/// Settles ended jobs that were left open (metering role, system scope). Returns how many.
std::size_t settle_ended_jobs(postgres::Transaction& tx, int most_jobs);

}  // namespace finetuned::billing
