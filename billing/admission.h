#pragma once

#include <cstddef>
#include <optional>

#include "billing/quote.h"
#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// Creates a job (gateway, project scope), in one transaction with its first event and, where its files are counted
/// already, the hold, state `queued` and the outbox row; else it waits in `validating_files` with nothing held.
/// Throws make_quote's ApiErrors, those of quotas.h, and ApiError 429 `insufficient_quota` with the shortfall: nothing is
/// created then.
storage::Job create_job(postgres::Transaction& tx, const storage::NewJob& job);

/// Looks again at jobs in `validating_files` (scheduler, system scope): admits those whose files are counted by now;
/// fails those whose files are bad or whose project cannot pay, with the same codes and an event. Returns how many
/// left the state.
std::size_t admit_waiting_jobs(postgres::Transaction& tx, int most_jobs);

}  // namespace finetuned::billing
