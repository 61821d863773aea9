#pragma once

#include <cstdint>
#include <string>

#include "billing/quote.h"
#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// Each refuses what would break a quota by ApiError 429 `quota_exceeded` (type `insufficient_quota`), which names the
/// limit, its size, what is used and when it frees. To be called in the transaction that would break it, before the change:
/// the quotas stay locked until it ends, so that of two at the bound one wins. Running jobs are no one's to refuse: the
/// claim passes over the projects that have enough of them (storage/job_leases.h).

/// One more job that waits.
void check_queued_jobs(postgres::Transaction& tx, const std::string& project_id);
/// One more file of so many bytes.
void check_storage(postgres::Transaction& tx, const std::string& project_id, std::int64_t bytes);
/// The quote's tokens, and its amount under the spend limits of the job's project and organization.
void check_month(postgres::Transaction& tx, const storage::NewJob& job, const Quote& quote);

}  // namespace finetuned::billing
