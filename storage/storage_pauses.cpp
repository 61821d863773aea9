#include "storage/storage_pauses.h"

#include "storage/job_rows.h"
#include "storage/outbox_store.h"

namespace finetuned::storage {

namespace {

/// $1 job, $2 epoch: as in job_leases.cpp.
#define FENCE " WHERE id = $1 AND lease_epoch = $2 AND state = 'running' AND lease_until > clock_timestamp()"
/// Whether the run has been saved no further than where the storage failed it before.
#define STANDS "storage_step IS NOT DISTINCT FROM coalesce(state_step, 0)"

constexpr char kLock[] =
    "SELECT project_id, coalesce(state_step, 0) AS step, " STANDS
    " AND storage_since <= clock_timestamp() - make_interval(secs => $3::double precision) AS hopeless,"
    " cancel_requested_at IS NOT NULL OR pause_requested_at IS NOT NULL AS asked FROM job" FENCE " FOR NO KEY UPDATE";

/// $3, $4: seconds of the first pause, and of the longest.
constexpr char kPause[] =
    "UPDATE job SET state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE 'paused' END,"
    " pause_reason = CASE WHEN cancel_requested_at IS NULL AND pause_requested_at IS NULL THEN 'storage_unavailable' END,"
    " storage_retry_at = CASE WHEN cancel_requested_at IS NULL AND pause_requested_at IS NULL THEN clock_timestamp()"
    "  + make_interval(secs => least($4::double precision, $3 * power(2, CASE WHEN " STANDS " THEN least(storage_pauses, 30) ELSE 0 END))) END,"
    " storage_since = CASE WHEN " STANDS " THEN storage_since ELSE clock_timestamp() END,"
    " storage_pauses = CASE WHEN " STANDS " THEN storage_pauses ELSE 0 END + 1, storage_step = coalesce(state_step, 0),"
    " finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN clock_timestamp() END, lease_until = NULL, worker = NULL,"
    " estimated_finish = NULL, pause_requested_at = NULL, step = coalesce(state_step, 0),"
    " trained_tokens = CASE WHEN cancel_requested_at IS NULL THEN state_tokens END" FENCE
    " RETURNING state, pause_reason IS NOT NULL AS waits";
#undef STANDS
#undef FENCE

constexpr char kAnyDue[] =
    "SELECT EXISTS (SELECT FROM job WHERE pause_reason IS NOT NULL AND storage_retry_at <= clock_timestamp()) AS due";
constexpr char kResume[] =
    "WITH due AS (SELECT id FROM job WHERE pause_reason IS NOT NULL AND storage_retry_at <= clock_timestamp()"
    "  ORDER BY storage_retry_at LIMIT $1 FOR UPDATE SKIP LOCKED)"
    " UPDATE job SET state = 'queued' FROM due WHERE job.id = due.id RETURNING job.id, job.project_id";

NewEvent event_of(const postgres::Row& paused, std::int64_t step) {
  if (paused.text("state") == to_string(JobState::kCancelled)) return {EventLevel::kInfo, "The job was cancelled", nullptr, false};
  if (!paused.boolean("waits")) return {EventLevel::kInfo, "The job is paused after step " + std::to_string(step), nullptr, false};
  return {EventLevel::kWarn,
          "The platform's storage is unavailable: the job is paused and goes on after step " + std::to_string(step) +
              " by itself once the storage works again",
          nullptr, false};
}

}  // namespace

std::optional<JobState> StoragePauses::pause(const JobLease& lease, const StorageRule& rule) {
  const auto held = tx_.execute(kLock, {lease.job_id, lease.epoch, rule.patience_seconds});
  if (held.empty()) return std::nullopt;
  if (held.row(0).boolean("hopeless") && !held.row(0).boolean("asked")) return JobState::kFailed;
  const auto paused = tx_.execute(kPause, {lease.job_id, lease.epoch, rule.first_retry_seconds, rule.most_retry_seconds});
  if (paused.empty()) return std::nullopt;
  insert_events(tx_, lease.job_id, held.row(0).text("project_id"), {event_of(paused.row(0), held.row(0).integer("step"))});
  return paused.row(0).text("state") == to_string(JobState::kCancelled) ? JobState::kCancelled : JobState::kPaused;
}

bool StoragePauses::any_due() { return tx_.execute(kAnyDue).row(0).boolean("due"); }

std::vector<std::string> StoragePauses::resume_due(int most) {
  const auto rows = tx_.execute(kResume, {most});
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string id = rows.row(i).text("id"), project = rows.row(i).text("project_id");
    insert_events(tx_, id, project, {{EventLevel::kInfo, "The storage works again; the job is queued again", nullptr, false}});
    OutboxStore(tx_).add(project, kJobsStream, id);
    ids.push_back(id);
  }
  return ids;
}

}  // namespace finetuned::storage
