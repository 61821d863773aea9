#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

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
/// One more uploaded file of so many bytes: what is kept, and what the day brought.
void check_upload(postgres::Transaction& tx, const std::string& project_id, std::int64_t bytes);
/// What would be spent in this month.
struct MonthsNeed {
  std::string organization_id, project_id;
  std::int64_t tokens = 0;
  base::NanoDollars amount;
  std::string subject = "this job costs";  ///< how a refusal begins with the amount
};
/// The tokens, and the amount under the spend limits of the project and its organization.
void check_month(postgres::Transaction& tx, const MonthsNeed& need);
/// The same of a job's quote.
void check_month(postgres::Transaction& tx, const storage::NewJob& job, const Quote& quote);

/// A limit of a project as it stands, those without one among them.
struct LimitUse {
  std::string name;                       ///< `queued_jobs`, ..., `spend_limit`, `organization_spend_limit`, `credit_limit`
  std::string unit;                       ///< `jobs`, `bytes`, `tokens`, `nano_dollars`
  std::optional<std::int64_t> limit;      ///< none: unlimited
  std::int64_t used = 0;
  std::optional<std::int64_t> frees_at;   ///< Unix time: the latest; none: when something is done
  std::string frees;                      ///< in words, as a refusal has them
};

/// What may refuse a project's requests. System scope.
std::vector<LimitUse> limit_uses(postgres::Transaction& tx, const std::string& organization_id, const std::string& project_id);

}  // namespace finetuned::billing
