#include "billing/settlement.h"

#include <algorithm>

#include "billing/give_back.h"
#include "billing/points_payment.h"
#include "billing/usage.h"
#include "storage/job_store.h"

namespace finetuned::billing {

namespace {

/// What a job pays for, all of it booked.
BookedUsage due(postgres::Transaction& tx, const storage::Job& job) {
  if (is_waived(job.error)) return {};
  if (job.state == storage::JobState::kSucceeded) {
    book_usage_without_steps(tx, job.id, job.lease_epoch, std::max<std::int64_t>(job.step, 1), job.trained_tokens.value_or(0));
  } else if (const auto checkpoint = storage::JobStore(tx).last_checkpoint(job.id)) {
    book_usage_without_steps(tx, job.id, job.lease_epoch, checkpoint->step, checkpoint->trained_tokens);
  }
  return booked_usage(tx, job.id);
}

/// Usage is never taken back: what was booked for steps that do not stand is, in the ledger.
base::NanoDollars give_back_distrusted(postgres::Transaction& tx, const storage::Job& job, const BookedUsage& booked) {
  const BookedUsage standing = standing_usage(tx, job.id);
  if (booked.amount <= standing.amount) return {};
  const std::string what = "steps of " + job.id + " whose training was not confirmed, and not taken again";
  const PaymentSplit back = give_back(tx, job.id, standing.amount, what);
  const Amount all{back.dollars.value + back.by_points.value};
  if (all.value == 0) return all;
  storage::NewEvent event;
  event.message = "Of its charge " + in_words(back) + " was given back: a worker's training after step " +
                  std::to_string(standing.steps) + " was not confirmed, and was not taken again";
  storage::JobStore(tx).append_event(job.id, event);
  return all;
}

}  // namespace

bool is_waived(const std::optional<storage::JobError>& error) {
  return error && (error->code == "worker_crashed" || error->code == "internal_error");
}

std::optional<Settlement> settle_job(postgres::Transaction& tx, const std::string& job_id) {
  storage::JobStore jobs(tx);
  const auto job = jobs.find_locked(job_id);
  if (!job || job->settled || !storage::is_terminal(job->state)) return std::nullopt;
  Settlement settlement;
  if (job->price_version) {  // it was admitted
    const BookedUsage usage = due(tx, *job);
    settlement.billed_tokens = usage.tokens;
    settlement.charged = usage.amount;
    settlement.returned = {job->quoted_nano.value_or(0) - usage.amount.value};
    settle_holds(tx, *job, usage.amount, usage.tokens);
    if (!is_waived(job->error)) settlement.given_back = give_back_distrusted(tx, *job, usage);
  }
  std::optional<std::int64_t> billed;
  if (settlement.billed_tokens > 0) billed = settlement.billed_tokens;
  jobs.mark_settled(job_id, billed);
  return settlement;
}

std::size_t settle_ended_jobs(postgres::Transaction& tx, int most_jobs) {
  std::size_t settled = 0;
  for (const storage::Job& job : storage::JobStore(tx).take_unsettled(most_jobs))
    if (settle_job(tx, job.id)) ++settled;
  return settled;
}

}  // namespace finetuned::billing
