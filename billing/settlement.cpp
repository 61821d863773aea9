#include "billing/settlement.h"

#include <algorithm>

#include "base/expects.h"
#include "base/ids.h"
#include "billing/ledger.h"
#include "billing/prices.h"
#include "storage/job_store.h"

namespace finetuned::billing {

namespace {

/// What a job pays for.
struct Trained {
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
};

bool our_fault(const storage::Job& job) {
  return job.error && (job.error->code == "worker_crashed" || job.error->code == "internal_error");
}

Trained trained_by(postgres::Transaction& tx, const storage::Job& job) {
  if (job.state == storage::JobState::kSucceeded)
    return {std::max<std::int64_t>(job.step, 1), job.trained_tokens.value_or(0)};
  if (our_fault(job)) return {};
  const auto checkpoint = storage::JobStore(tx).last_checkpoint(job.id);
  if (!checkpoint) return {};
  return {checkpoint->step, checkpoint->trained_tokens};
}

void record_usage(postgres::Transaction& tx, const storage::Job& job, const Trained& trained,
                  const std::string& transfer_id) {
  tx.execute(
      "INSERT INTO usage (job_id, project_id, metric, steps, tokens_cum, lease_epoch, transfer_id)"
      " VALUES ($1, $2, 'trained_tokens', int8range(1, $3::bigint + 1), $4, $5, $6::uuid)",
      {job.id, job.project_id, trained.steps, trained.tokens, job.lease_epoch, transfer_id});
}

}  // namespace

std::optional<Settlement> settle_job(postgres::Transaction& tx, const std::string& job_id) {
  storage::JobStore jobs(tx);
  const auto job = jobs.find_locked(job_id);
  if (!job || job->settled || !storage::is_terminal(job->state)) return std::nullopt;
  Settlement settlement;
  if (job->hold_transfer_id) {
    const Trained trained = trained_by(tx, *job);
    const std::int64_t held = job->quoted_nano.value_or(0);
    const Price price = price_at_version(tx, *job->price_version);
    settlement.billed_tokens = trained.tokens;
    settlement.charged = {std::min(base::price_of(trained.tokens, price.nano_per_1k).value, held)};
    settlement.returned = {held - settlement.charged.value};
    const std::string transfer_id = base::make_uuid();
    Ledger ledger(tx);
    if (settlement.charged.value > 0)
      ledger.post(transfer_id, *job->hold_transfer_id, settlement.charged,
                  std::to_string(trained.tokens) + " tokens trained by " + job_id);
    else
      ledger.release(transfer_id, *job->hold_transfer_id, "nothing to bill for " + job_id);
    if (trained.tokens > 0) record_usage(tx, *job, trained, transfer_id);
  }
  std::optional<std::int64_t> billed;
  if (job->state != storage::JobState::kSucceeded && settlement.billed_tokens > 0) billed = settlement.billed_tokens;
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
