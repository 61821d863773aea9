#include "billing/quotas.h"

#include <limits>

#include "base/errors.h"
#include "storage/quota_store.h"
#include "storage/spend_store.h"

namespace finetuned::billing {

namespace {

constexpr std::int64_t kNanoPerCent = 10'000'000;
constexpr const char* kRemedy = " An administrator can raise the limit.";
constexpr const char* kMonthEnds = "It frees when a job that has not ended ends below its quote, and at the month's end (UTC).";

base::ApiError exceeded(const std::string& message, const std::string& frees) {
  return {429, "insufficient_quota", "quota_exceeded", message + " " + frees + kRemedy};
}

/// Whether `more` does not fit; counts are at most 10^15, so that nothing overflows.
bool breaks(const std::optional<std::int64_t>& limit, std::int64_t used, std::int64_t more) {
  return limit && (more > *limit || used > *limit - more);
}

std::string counted(const std::string& quota, std::int64_t limit, std::int64_t used, std::int64_t more, const std::string& unit) {
  return "The project's quota " + quota + " is " + std::to_string(limit) + " " + unit + ", of which " + std::to_string(used) +
         " are used; this needs " + std::to_string(more) + " more.";
}

void check_spending(postgres::Transaction& tx, const storage::Spender& spender, base::NanoDollars amount) {
  const storage::Spending now = storage::SpendStore(tx, spender).lock_spending();
  if (!now.limit_cents || *now.limit_cents > std::numeric_limits<std::int64_t>::max() / kNanoPerCent) return;
  const base::NanoDollars limit{*now.limit_cents * kNanoPerCent};
  if (!breaks(limit.value, now.spent_nano, amount.value)) return;
  throw exceeded("The spend limit (spend_limit) of the " + std::string(spender.project_id ? "project" : "organization") +
                     " is " + base::format_dollars(limit) + " a month, of which " +
                     base::format_dollars({now.spent_nano}) + " are spent or held; this job costs " +
                     base::format_dollars(amount) + ".",
                 kMonthEnds);
}

}  // namespace

void check_queued_jobs(postgres::Transaction& tx, const std::string& project_id) {
  storage::QuotaStore quotas(tx);
  const auto limit = quotas.lock(project_id).queued_jobs;
  if (!limit) return;
  const std::int64_t used = quotas.used(project_id).queued_jobs;
  if (breaks(limit, used, 1))
    throw exceeded(counted("queued_jobs", *limit, used, 1, "jobs that wait or are paused"),
                   "It frees when one of them begins to run, or is cancelled.");
}

void check_storage(postgres::Transaction& tx, const std::string& project_id, std::int64_t bytes) {
  storage::QuotaStore quotas(tx);
  const auto limit = quotas.lock(project_id).storage_bytes;
  if (!limit) return;
  const std::int64_t used = quotas.used(project_id).storage_bytes;
  if (breaks(limit, used, bytes))
    throw exceeded(counted("storage_bytes", *limit, used, bytes, "bytes of files"),
                   "It frees when files are deleted (DELETE /v1/files/{id}) or expire.");
}

void check_month(postgres::Transaction& tx, const storage::NewJob& job, const Quote& quote) {
  storage::QuotaStore quotas(tx);
  const auto limit = quotas.lock(job.project_id).tokens_per_month;
  if (limit) {
    const std::int64_t used = quotas.used(job.project_id).tokens_per_month;
    if (breaks(limit, used, quote.tokens))
      throw exceeded(counted("tokens_per_month", *limit, used, quote.tokens, "tokens"), kMonthEnds);
  }
  check_spending(tx, {job.organization_id, job.project_id}, quote.amount);
  check_spending(tx, {job.organization_id, std::nullopt}, quote.amount);
}

}  // namespace finetuned::billing
