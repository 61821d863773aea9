#include "billing/quotas.h"

#include <algorithm>
#include <limits>

#include "base/errors.h"
#include "billing/ledger.h"
#include "storage/quota_store.h"
#include "storage/spend_store.h"

namespace finetuned::billing {

namespace {

constexpr std::int64_t kNanoPerCent = 10'000'000;
constexpr const char* kRemedy = " An administrator can raise the limit.";
constexpr const char* kMonthEnds = "It frees when a job or an answer that has not ended ends below what it holds, and at the month's end (UTC).";
constexpr const char* kJobsStart = "It frees when one of them begins to run, or is cancelled.";
constexpr const char* kJobsEnd = "It frees when one of them ends.";
constexpr const char* kFilesGo = "It frees when files are deleted (DELETE /v1/files/{id}) or expire.";
constexpr const char* kDayEnds = "It frees when the day ends (UTC).";
constexpr const char* kDebtPaid = "It frees when what is owed is paid by a credit, and when a job or an answer ends below what it holds.";

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

/// None where there is no limit, or one beyond what can be spent.
std::optional<std::int64_t> limit_nano(const storage::Spending& spending) {
  if (!spending.limit_cents || *spending.limit_cents > std::numeric_limits<std::int64_t>::max() / kNanoPerCent) return std::nullopt;
  return *spending.limit_cents * kNanoPerCent;
}

void check_spending(postgres::Transaction& tx, const storage::Spender& spender, const MonthsNeed& need) {
  const storage::Spending now = storage::SpendStore(tx, spender).lock_spending();
  if (need.amount.value == 0) return;  // paid with points, or free: whatever a limit that was lowered says
  const auto most = limit_nano(now);
  if (!breaks(most, now.spent_nano, need.amount.value)) return;
  const base::NanoDollars limit{*most};
  throw exceeded("The spend limit (spend_limit) of the " + std::string(spender.project_id ? "project" : "organization") +
                     " is " + base::format_dollars(limit) + " a month, of which " +
                     base::format_dollars({now.spent_nano}) + " are spent or held; " + need.subject + " " +
                     base::format_dollars(need.amount) + ".",
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
                   kJobsStart);
}

void check_upload(postgres::Transaction& tx, const std::string& project_id, std::int64_t bytes) {
  storage::QuotaStore quotas(tx);
  const storage::Quotas limits = quotas.lock(project_id);
  if (!limits.storage_bytes && !limits.upload_bytes_per_day) return;
  const storage::QuotaUse used = quotas.used(project_id);
  if (breaks(limits.storage_bytes, used.storage_bytes, bytes))
    throw exceeded(counted("storage_bytes", *limits.storage_bytes, used.storage_bytes, bytes, "bytes of files"), kFilesGo);
  if (breaks(limits.upload_bytes_per_day, used.upload_bytes_per_day, bytes))
    throw exceeded(counted("upload_bytes_per_day", *limits.upload_bytes_per_day, used.upload_bytes_per_day, bytes, "bytes"), kDayEnds);
}

void check_month(postgres::Transaction& tx, const MonthsNeed& need) {
  storage::QuotaStore quotas(tx);
  const auto limit = quotas.lock(need.project_id).tokens_per_month;
  if (limit) {
    const std::int64_t used = quotas.used(need.project_id).tokens_per_month;
    if (breaks(limit, used, need.tokens))
      throw exceeded(counted("tokens_per_month", *limit, used, need.tokens, "tokens"), kMonthEnds);
  }
  check_spending(tx, {need.organization_id, need.project_id}, need);
  check_spending(tx, {need.organization_id, std::nullopt}, need);
}

void check_month(postgres::Transaction& tx, const storage::NewJob& job, const Quote& quote) {
  check_month(tx, {.organization_id = job.organization_id, .project_id = job.project_id, .tokens = quote.tokens, .amount = quote.amount});
}

std::vector<LimitUse> limit_uses(postgres::Transaction& tx, const std::string& organization_id, const std::string& project_id) {
  storage::QuotaStore quotas(tx);
  const storage::Quotas limits = quotas.get(project_id);
  const storage::QuotaUse used = quotas.used(project_id);
  const Balance balance = Ledger(tx).balance(project_id);
  std::vector<LimitUse> uses{
      {"queued_jobs", "jobs", limits.queued_jobs, used.queued_jobs, std::nullopt, kJobsStart},
      {"running_jobs", "jobs", limits.running_jobs, used.running_jobs, std::nullopt, kJobsEnd},
      {"storage_bytes", "bytes", limits.storage_bytes, used.storage_bytes, std::nullopt, kFilesGo},
      {"upload_bytes_per_day", "bytes", limits.upload_bytes_per_day, used.upload_bytes_per_day, used.day_ends_at, kDayEnds},
      {"tokens_per_month", "tokens", limits.tokens_per_month, used.tokens_per_month, used.month_ends_at, kMonthEnds}};
  const auto add_spending = [&](const char* name, const storage::Spender& spender) {
    const storage::Spending now = storage::SpendStore(tx, spender).spending();
    uses.push_back({name, "nano_dollars", limit_nano(now), now.spent_nano, used.month_ends_at, kMonthEnds});
  };
  add_spending("spend_limit", {organization_id, project_id});
  add_spending("organization_spend_limit", {organization_id, std::nullopt});
  const std::int64_t owed = balance.spent.value + balance.held.value - balance.credited.value;
  uses.push_back({"credit_limit", "nano_dollars", balance.credit_limit.value, std::max<std::int64_t>(owed, 0), std::nullopt, kDebtPaid});
  return uses;
}

}  // namespace finetuned::billing
