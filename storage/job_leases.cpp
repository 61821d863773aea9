#include "storage/job_leases.h"

#include <boost/json/serialize.hpp>

#include "base/ids.h"
#include "storage/fair_share.h"
#include "storage/job_rows.h"
#include "storage/json_columns.h"
#include "storage/outbox_store.h"
#include "storage/removal_store.h"

namespace finetuned::storage {

namespace {

/// $1 job, $2 epoch: the row while the lease holds, by the database's clock.
#define FENCE " id = $1 AND lease_epoch = $2 AND state = 'running' AND lease_until > clock_timestamp()"

/// What a running job is asked for.
#define ASKED                                                                                                        \
  "cancel_requested_at IS NOT NULL AS cancel_requested, pause_requested_at IS NOT NULL AS pause_requested,"          \
  " preempt_requested_at IS NOT NULL AS preempt_requested"

constexpr char kBaseOf[] = "SELECT b.directory FROM job j JOIN base_model b ON b.name = j.base_model WHERE j.id = $1";
constexpr char kHeartbeat[] =
    "UPDATE job SET lease_until = clock_timestamp() + make_interval(secs => $3::double precision) WHERE" FENCE
    " RETURNING " ASKED;
constexpr char kPeek[] = "SELECT " ASKED " FROM job WHERE" FENCE;
#undef ASKED
constexpr char kLock[] = "SELECT project_id, state_object FROM job WHERE" FENCE " FOR NO KEY UPDATE";
constexpr char kProgress[] =
    "UPDATE job SET step = $3, total_steps = $4, trained_tokens = $5, estimated_finish = to_timestamp($6::bigint)"
    " WHERE" FENCE;
constexpr char kEnd[] =
    "UPDATE job SET state = $3, finished_at = clock_timestamp(), lease_until = NULL, estimated_finish = NULL,"
    " fine_tuned_model = $4, trained_tokens = $5, error_code = $6, error_message = $7, error_param = $8 WHERE" FENCE
    " RETURNING project_id";
#define GOT_FURTHER " attempts = CASE WHEN $4 > coalesce(state_step, 0) THEN 0 ELSE attempts END,"
constexpr char kSaveState[] =
    "UPDATE job SET" GOT_FURTHER " state_object = $3, state_step = $4, state_tokens = $5 WHERE" FENCE;
constexpr char kRelease[] =
    "UPDATE job SET" GOT_FURTHER " state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'"
    "  WHEN pause_requested_at IS NOT NULL THEN 'paused' ELSE 'queued' END,"
    " finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN clock_timestamp() END,"
    " lease_until = NULL, worker = NULL, estimated_finish = NULL, pause_requested_at = NULL,"
    " state_object = coalesce($3, state_object), state_step = coalesce($4, state_step),"
    " state_tokens = coalesce($5, state_tokens), step = coalesce($4, state_step, 0),"
    " trained_tokens = CASE WHEN cancel_requested_at IS NULL THEN coalesce($5, state_tokens) END WHERE" FENCE
    " RETURNING state";
#undef GOT_FURTHER
#undef FENCE

constexpr char kExpired[] =
    "SELECT id, project_id, worker, attempts, cancel_requested_at IS NOT NULL AS cancel_requested,"
    " pause_requested_at IS NOT NULL AS pause_requested FROM job"
    " WHERE state = 'running' AND lease_until <= clock_timestamp() ORDER BY lease_until LIMIT $1"
    " FOR UPDATE SKIP LOCKED";
constexpr char kSweep[] =
    "UPDATE job SET state = $2, attempts = $3, lease_until = NULL, worker = NULL, estimated_finish = NULL,"
    " pause_requested_at = NULL, step = CASE WHEN $2 IN ('queued', 'paused') THEN coalesce(state_step, 0) ELSE step END,"
    " trained_tokens = CASE WHEN $2 IN ('queued', 'paused') THEN state_tokens END,"
    " finished_at = CASE WHEN $2 IN ('queued', 'paused') THEN NULL ELSE clock_timestamp() END,"
    " error_code = $4, error_message = $5 WHERE id = $1";

JobLeases::Beat beat_of(const postgres::Result& rows) {
  if (rows.empty()) return {};
  const auto row = rows.row(0);
  return {true, row.boolean("cancel_requested"), row.boolean("pause_requested"), row.boolean("preempt_requested")};
}

}  // namespace

std::optional<ClaimedJob> JobLeases::claim(const std::string& worker, std::int64_t lease_seconds) {
  FairShare share(tx_);
  auto job = share.begin_next(worker, lease_seconds);
  if (!job && share.lock())
    for (const FairShare::Turn& turn : share.turns())
      if ((job = share.begin_run(turn, worker, lease_seconds))) break;
  if (!job) return std::nullopt;
  const JobLease lease{job->id, job->lease_epoch};
  return ClaimedJob{.job = std::move(*job), .lease = lease};
}

std::optional<std::string> JobLeases::next_base_directory() {
  const auto turns = FairShare(tx_).turns();
  if (turns.empty()) return std::nullopt;
  const auto rows = tx_.execute(kBaseOf, {turns.front().job_id});
  if (rows.empty()) return std::nullopt;
  return rows.row(0).text("directory");
}

JobLeases::Beat JobLeases::heartbeat(const JobLease& lease, std::int64_t lease_seconds) {
  return beat_of(tx_.execute(kHeartbeat, {lease.job_id, lease.epoch, lease_seconds}));
}

JobLeases::Beat JobLeases::peek(const JobLease& lease) {
  return beat_of(tx_.execute(kPeek, {lease.job_id, lease.epoch}));
}

bool JobLeases::set_progress(const JobLease& lease, std::int64_t step, std::int64_t total_steps,
                             std::int64_t trained_tokens, std::optional<std::int64_t> estimated_finish) {
  return tx_.execute(kProgress, {lease.job_id, lease.epoch, step, total_steps, trained_tokens, estimated_finish})
             .affected_rows() == 1;
}

bool JobLeases::append_events(const JobLease& lease, const std::vector<NewEvent>& events) {
  const auto rows = tx_.execute(kLock, {lease.job_id, lease.epoch});
  if (rows.empty()) return false;
  insert_events(tx_, lease.job_id, rows.row(0).text("project_id"), events);
  return true;
}

bool JobLeases::add_checkpoint(const JobLease& lease, const NewCheckpoint& checkpoint, bool* already_there) {
  const auto rows = tx_.execute(kLock, {lease.job_id, lease.epoch});
  if (rows.empty()) return false;
  const auto inserted = tx_.execute(
      "INSERT INTO job_checkpoint (id, job_id, project_id, step, trained_tokens, model_name, metrics, objects, sha256)"
      " VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb, $9::jsonb) ON CONFLICT (job_id, step) DO UPDATE SET"
      " trained_tokens = excluded.trained_tokens, metrics = excluded.metrics, objects = excluded.objects, sha256 = excluded.sha256,"
      " created_at = clock_timestamp(), distrusted_at = NULL WHERE job_checkpoint.distrusted_at IS NOT NULL",
      {base::make_id("ftckpt"), lease.job_id, rows.row(0).text("project_id"), checkpoint.step,
       checkpoint.trained_tokens, checkpoint.model_name, json_value(checkpoint.metrics),
       objects_to_json(checkpoint.objects), objects_to_json(checkpoint.sha256)});
  if (already_there) *already_there = inserted.affected_rows() == 0;
  return true;
}

bool JobLeases::succeed(const JobLease& lease, const std::string& fine_tuned_model,
                        const std::vector<std::string>& result_files, std::int64_t trained_tokens) {
  const auto rows = tx_.execute(kEnd, {lease.job_id, lease.epoch, to_string(JobState::kSucceeded), fine_tuned_model,
                                       trained_tokens, std::nullopt, std::nullopt, std::nullopt});
  if (rows.empty()) return false;
  for (std::size_t i = 0; i < result_files.size(); ++i)
    tx_.execute("INSERT INTO job_result_file (job_id, position, file_id, project_id) VALUES ($1, $2, $3, $4)",
                {lease.job_id, i, result_files[i], rows.row(0).text("project_id")});
  return true;
}

bool JobLeases::fail(const JobLease& lease, const JobError& error) {
  return !tx_.execute(kEnd, {lease.job_id, lease.epoch, to_string(JobState::kFailed), std::nullopt, std::nullopt,
                             error.code, error.message, error.param})
              .empty();
}

bool JobLeases::finish_cancelled(const JobLease& lease) {
  return !tx_.execute(kEnd, {lease.job_id, lease.epoch, to_string(JobState::kCancelled), std::nullopt, std::nullopt,
                             std::nullopt, std::nullopt, std::nullopt})
              .empty();
}

/// `saved`, once it is the locked job's own and what was there before is to go; empty where it cannot be.
std::optional<SavedState> JobLeases::take_over(const postgres::Row& held, const std::optional<SavedState>& saved) {
  RemovalStore removals(tx_);
  if (!saved || !removals.keep(saved->object_id)) return std::nullopt;
  if (const auto earlier = held.maybe_text("state_object")) removals.add(held.text("project_id"), *earlier);
  return saved;
}

bool JobLeases::save_state(const JobLease& lease, const SavedState& saved) {
  const auto held = tx_.execute(kLock, {lease.job_id, lease.epoch});
  if (held.empty()) return false;
  if (!take_over(held.row(0), saved)) return true;
  return tx_.execute(kSaveState, {lease.job_id, lease.epoch, saved.object_id, saved.step, saved.trained_tokens})
             .affected_rows() == 1;
}

std::optional<JobState> JobLeases::release(const JobLease& lease, const std::optional<SavedState>& saved) {
  const auto held = tx_.execute(kLock, {lease.job_id, lease.epoch});
  if (held.empty()) return std::nullopt;
  const std::string project = held.row(0).text("project_id");
  std::optional<std::string> object;
  std::optional<std::int64_t> step, tokens;
  if (const auto own = take_over(held.row(0), saved))
    object = own->object_id, step = own->step, tokens = own->trained_tokens;
  const auto rows = tx_.execute(kRelease, {lease.job_id, lease.epoch, object, step, tokens});
  if (rows.empty()) return std::nullopt;
  const std::string reached = rows.row(0).text("state");
  if (reached == to_string(JobState::kCancelled)) return JobState::kCancelled;
  if (reached == to_string(JobState::kPaused)) return JobState::kPaused;
  OutboxStore(tx_).add(project, kJobsStream, lease.job_id);
  return JobState::kQueued;
}

std::vector<SweptJob> JobLeases::sweep(int most_attempts, int most_jobs) {
  const auto expired = tx_.execute(kExpired, {most_jobs});
  std::vector<SweptJob> swept;
  for (std::size_t i = 0; i < expired.size(); ++i) {
    const auto row = expired.row(i);
    SweptJob job{row.text("id"), row.text("project_id"), JobState::kQueued};
    const std::int64_t attempts = row.integer("attempts") + 1;
    NewEvent event{EventLevel::kWarn, "The worker went silent; the job is queued again", nullptr, false};
    std::optional<JobError> error;
    if (row.boolean("cancel_requested")) {
      job.state = JobState::kCancelled;
      event.message = "The worker went silent while it was cancelling; the job is cancelled";
    } else if (row.boolean("pause_requested") && attempts < most_attempts) {
      job.state = JobState::kPaused;
      event.message = "The worker went silent while it was pausing; the job is paused where its run was last saved";
    } else if (attempts >= most_attempts) {
      job.state = JobState::kFailed;
      error = JobError{"worker_crashed",
                       "The job's worker went silent " + std::to_string(attempts) +
                           " times. Nothing is billed. Create the job again; if this comes back, tell the operator.",
                       std::nullopt};
      event = {EventLevel::kError, error->message, nullptr, false};
    }
    std::optional<std::string> error_code, error_message;
    if (error) error_code = error->code, error_message = error->message;
    tx_.execute(kSweep, {job.id, to_string(job.state), attempts, error_code, error_message});
    insert_events(tx_, job.id, job.project_id, {event});
    if (job.state == JobState::kQueued) OutboxStore(tx_).add(job.project_id, kJobsStream, job.id);
    swept.push_back(std::move(job));
  }
  return swept;
}

}  // namespace finetuned::storage
