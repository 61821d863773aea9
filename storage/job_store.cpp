#include "storage/job_store.h"

#include <boost/json/serialize.hpp>

#include "base/expects.h"
#include "storage/cursor.h"
#include "storage/job_rows.h"
#include "storage/json_columns.h"
#include "storage/outbox_store.h"
#include "storage/removal_store.h"

namespace finetuned::storage {

namespace {

std::string select_jobs(const std::string& where) {
  return std::string("SELECT ") + kJobColumns + " FROM job WHERE " + where;
}

/// A row's place and the transaction that put it there are another one's with each change of the row. The result files, which
/// a job's readers see too, come with a change of the row, in one transaction (JobLeases::succeed), and stay.
#define JOB_VERSION "job.ctid || '/' || job.xmin AS version"

/// At the end of its project's queue, in front of what was queued in the last hour for each step of priority.
#define JOINS_QUEUE \
  "state = 'queued', queued_at = clock_timestamp(), turn_at = clock_timestamp() - priority * interval '1 hour'"

/// A job whose files are read, and, where they were accepted, counted for its model. Jobs that still wait for intake
/// are left out, or the first of them would keep all others from being looked at.
constexpr char kDecidable[] =
    "state = 'validating_files' AND NOT EXISTS (SELECT FROM file f JOIN base_model m ON m.name = job.base_model"
    " WHERE f.id IN (job.training_file, job.validation_file) AND f.deleted_at IS NULL AND (f.status = 'uploaded'"
    "  OR f.status = 'processed' AND NOT EXISTS (SELECT FROM file_tokens t"
    "   WHERE t.file_id = f.id AND t.tokenizer_fingerprint = m.tokenizer_fingerprint)))";

std::vector<Job> read_jobs(const postgres::Result& rows) {
  std::vector<Job> jobs;
  for (std::size_t i = 0; i < rows.size(); ++i) jobs.push_back(read_job_row(rows.row(i)));
  return jobs;
}

Event read_event(const postgres::Row& row) {
  Event event;
  event.id = row.text("id");
  event.seq = row.integer("seq");
  event.job_id = row.text("job_id");
  event.created_at = row.integer("created_at");
  event.is_metrics = row.text("type") == "metrics";
  const std::string level = row.text("level");
  event.level = level == "error" ? EventLevel::kError : level == "warn" ? EventLevel::kWarn : EventLevel::kInfo;
  event.message = row.text("message");
  event.data = json_column(row, "data");
  return event;
}

constexpr char kSelectCheckpoint[] =
    "SELECT id, job_id, extract(epoch FROM created_at)::bigint AS created_at, step, trained_tokens, model_name, metrics,"
    " objects, sha256 FROM job_checkpoint WHERE distrusted_at IS NULL AND job_id = $1";

Checkpoint read_checkpoint(const postgres::Row& row) {
  Checkpoint checkpoint;
  checkpoint.id = row.text("id");
  checkpoint.job_id = row.text("job_id");
  checkpoint.created_at = row.integer("created_at");
  checkpoint.step = row.integer("step");
  checkpoint.trained_tokens = row.integer("trained_tokens");
  checkpoint.model_name = row.text("model_name");
  checkpoint.metrics = json_column(row, "metrics");
  checkpoint.objects = objects_from_json(row.text("objects"));
  checkpoint.sha256 = objects_from_json(row.text("sha256"));
  return checkpoint;
}

}  // namespace

void JobStore::insert(const NewJob& job) {
  tx_.execute_later(
      "INSERT INTO job (id, project_id, organization_id, model, base_model, state, training_file, validation_file,"
      " hyperparameters, method, metadata, integrations, seed, suffix, priority, payment) VALUES ($1, $2, $3, $4, $5,"
      " 'validating_files', $6, $7, $8::jsonb, $9::jsonb, $10::jsonb, $11::jsonb, $12, $13, $14, $15)",
      {job.id, job.project_id, job.organization_id, job.model, job.base_model, job.training_file, job.validation_file,
       json_value(job.hyperparameters), json_value(job.method), json_value(job.metadata),
       json_value(job.integrations), job.seed, job.suffix, job.priority, to_string(job.payment)});
}

void JobStore::admit(const std::string& id, const Admitted& admitted) {
  tx_.execute_later(
      "WITH admitted AS (UPDATE job SET " JOINS_QUEUE ", price_version = $2, quoted_tokens = $3,"
      "  quoted_nano = $4, hold_transfer_id = $5::uuid, points_hold_id = $7::uuid, liquidity_hold_id = $8::uuid"
      "  WHERE id = $1 AND state = 'validating_files' RETURNING id, project_id)"
      " INSERT INTO outbox (project_id, stream, payload) SELECT project_id, $6, id FROM admitted",
      {id, admitted.price_version, admitted.quoted_tokens, admitted.quoted_nano, admitted.hold_transfer_id, kJobsStream,
       admitted.points_hold_id, admitted.liquidity_hold_id});
}

std::optional<Job> JobStore::find(const std::string& id) {
  const auto rows = tx_.execute(select_jobs("id = $1"), {id});
  if (rows.empty()) return std::nullopt;
  return read_job_row(rows.row(0));
}

std::vector<Job> JobStore::find_all(const std::vector<std::string>& ids) {
  return read_jobs(tx_.execute(select_jobs("id = ANY ($1::text[])"), {postgres::Value::texts(ids)}));
}

const char* const JobStore::kVersions = "SELECT id, " JOB_VERSION " FROM job WHERE id = ANY ($1::text[])";

std::vector<VersionedJob> JobStore::find_versioned(const std::vector<std::string>& ids) {
  const auto rows = tx_.execute(std::string("SELECT ") + kJobColumns + ", " JOB_VERSION " FROM job WHERE id = ANY ($1::text[])",
                                {postgres::Value::texts(ids)});
  std::vector<VersionedJob> jobs;
  for (std::size_t i = 0; i < rows.size(); ++i) jobs.push_back({read_job_row(rows.row(i)), rows.row(i).text("version")});
  return jobs;
}

std::optional<Job> JobStore::find_locked(const std::string& id) {
  const auto rows = tx_.execute(select_jobs("id = $1 FOR UPDATE"), {id});
  if (rows.empty()) return std::nullopt;
  return read_job_row(rows.row(0));
}

Page<Job> JobStore::list(const std::string& project_id, const PageRequest& request,
                         const std::optional<boost::json::object>& metadata) {
  std::optional<std::string> pairs;
  if (metadata) pairs = boost::json::serialize(*metadata);
  return read_page(tx_, request, "job", "id", "project_id",
                   select_jobs("project_id = $1 AND ($2::jsonb IS NULL OR CASE WHEN $2::jsonb = '{}' THEN"
                               " coalesce(metadata, '{}') = '{}' ELSE metadata @> $2::jsonb END)"),
                   {project_id, pairs}, read_job_row);
}

std::optional<Job> JobStore::request_cancel(const std::string& id) {
  const auto job = find_locked(id);
  if (!job || is_terminal(job->state)) return job;
  NewEvent event;
  if (job->state == JobState::kRunning) {
    if (job->cancel_requested) return job;
    tx_.execute("UPDATE job SET cancel_requested_at = clock_timestamp() WHERE id = $1", {id});
    event.message = "Cancelling: the worker stops within a step";
  } else {
    tx_.execute(
        "UPDATE job SET state = 'cancelled', cancel_requested_at = clock_timestamp(), finished_at = clock_timestamp(),"
        " estimated_finish = NULL, trained_tokens = NULL WHERE id = $1",
        {id});
    event.message = job->started_at ? "The job was cancelled" : "The job was cancelled before it ran; nothing is billed";
  }
  insert_events(tx_, id, job->project_id, {event});
  return find(id);
}

std::optional<Job> JobStore::request_pause(const std::string& id) {
  const auto job = find_locked(id);
  if (!job) return job;
  NewEvent event;
  if (job->state == JobState::kRunning && !job->cancel_requested && !job->pause_requested) {
    tx_.execute("UPDATE job SET pause_requested_at = clock_timestamp() WHERE id = $1", {id});
    event.message = "Pausing: the worker stops within a step";
  } else if (job->state == JobState::kQueued) {
    tx_.execute("UPDATE job SET state = 'paused', estimated_finish = NULL WHERE id = $1", {id});
    event.message = "The job is paused";
  } else if (job->storage_pause) {
    tx_.execute("UPDATE job SET pause_reason = NULL, storage_retry_at = NULL WHERE id = $1", {id});
    event.message = "The job stays paused, also once the storage works again";
  } else {
    return job;
  }
  insert_events(tx_, id, job->project_id, {event});
  return find(id);
}

std::optional<Job> JobStore::resume(const std::string& id) {
  const auto job = find_locked(id);
  if (!job) return job;
  NewEvent event;
  if (job->state == JobState::kPaused) {
    tx_.execute("UPDATE job SET " JOINS_QUEUE " WHERE id = $1", {id});
    OutboxStore(tx_).add(job->project_id, kJobsStream, id);
    event.message = "The job is queued again";
  } else if (job->state == JobState::kRunning && job->pause_requested && !job->cancel_requested) {
    tx_.execute("UPDATE job SET pause_requested_at = NULL WHERE id = $1", {id});
    event.message = "The job is not paused after all";
  } else {
    return job;
  }
  insert_events(tx_, id, job->project_id, {event});
  return find(id);
}

int JobStore::drop_states_of_ended(int most) {
  const auto rows = tx_.execute(
      "WITH ended AS (SELECT id, project_id, state_object FROM job WHERE finished_at IS NOT NULL AND state_object IS NOT NULL"
      "  ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED)"
      " UPDATE job SET state_object = NULL, state_step = NULL, state_tokens = NULL FROM ended WHERE job.id = ended.id"
      " RETURNING ended.project_id, ended.state_object",
      {most});
  RemovalStore removals(tx_);
  for (std::size_t i = 0; i < rows.size(); ++i)
    removals.add(rows.row(i).text("project_id"), rows.row(i).text("state_object"));
  return static_cast<int>(rows.size());
}

bool JobStore::fail_before_start(const std::string& id, const JobError& error) {
  const auto rows = tx_.execute(
      "UPDATE job SET state = 'failed', finished_at = clock_timestamp(), estimated_finish = NULL, error_code = $2,"
      " error_message = $3, error_param = $4 WHERE id = $1 AND state IN ('validating_files', 'queued')"
      " RETURNING project_id",
      {id, error.code, error.message, error.param});
  if (rows.empty()) return false;
  insert_events(tx_, id, rows.row(0).text("project_id"), {NewEvent{EventLevel::kError, error.message, nullptr, false}});
  return true;
}

std::vector<Job> JobStore::take_waiting(int most) {
  return read_jobs(tx_.execute(select_jobs(kDecidable) + " ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED", {most}));
}

std::vector<std::string> JobStore::queued_ids(int most) {
  const auto rows = tx_.execute("SELECT id FROM job WHERE state = 'queued' ORDER BY queued_at, seq LIMIT $1", {most});
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < rows.size(); ++i) ids.push_back(rows.row(i).text("id"));
  return ids;
}

std::vector<Job> JobStore::take_unsettled(int most) {
  return read_jobs(tx_.execute(
      select_jobs("finished_at IS NOT NULL AND settled_at IS NULL ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED"),
      {most}));
}

void JobStore::mark_settled(const std::string& id, std::optional<std::int64_t> trained_tokens) {
  const auto done = tx_.execute(
      "UPDATE job SET settled_at = clock_timestamp(), trained_tokens = coalesce($2::bigint, trained_tokens)"
      " WHERE id = $1 AND finished_at IS NOT NULL AND settled_at IS NULL",
      {id, trained_tokens});
  base::expects(done.affected_rows() == 1, "a job is settled once, after its end");
}

std::int64_t JobStore::count_in_state(const std::string& project_id, JobState state) {
  return tx_
      .execute("SELECT count(*) AS jobs FROM job WHERE project_id = $1 AND state = $2", {project_id, to_string(state)})
      .row(0)
      .integer("jobs");
}

std::int64_t JobStore::last_told_step(const std::string& job_id) {
  const auto rows = tx_.execute(
      "SELECT (data->>'step')::bigint AS step FROM job_event WHERE job_id = $1 AND type = 'metrics'"
      " AND seq > (SELECT told_from FROM job WHERE id = $1) ORDER BY seq DESC LIMIT 1",
      {job_id});
  return rows.empty() ? 0 : rows.row(0).integer("step");
}

void JobStore::append_event(const std::string& job_id, const NewEvent& event) {
  const auto rows = tx_.execute("SELECT project_id FROM job WHERE id = $1 FOR NO KEY UPDATE", {job_id});
  base::expects(!rows.empty(), "an event of a job that exists");
  insert_events(tx_, job_id, rows.row(0).text("project_id"), {event});
}

void JobStore::append_events_locked(const std::string& job_id, const std::string& project_id,
                                    const std::vector<NewEvent>& events) {
  insert_events(tx_, job_id, project_id, events);
}

Page<Event> JobStore::list_events(const std::string& job_id, const PageRequest& request) {
  return read_page(tx_, request, "job_event", "id", "job_id",
                   "SELECT id, seq, job_id, extract(epoch FROM created_at)::bigint AS created_at, type, level, message,"
                   " data FROM job_event WHERE job_id = $1",
                   {job_id}, read_event);
}

Page<Checkpoint> JobStore::list_checkpoints(const std::string& job_id, const PageRequest& request) {
  return read_page(tx_, request, "job_checkpoint", "id", "job_id", kSelectCheckpoint, {job_id}, read_checkpoint);
}

std::optional<Checkpoint> JobStore::last_checkpoint(const std::string& job_id) {
  const auto rows = tx_.execute(std::string(kSelectCheckpoint) + " ORDER BY step DESC LIMIT 1", {job_id});
  if (rows.empty()) return std::nullopt;
  return read_checkpoint(rows.row(0));
}

}  // namespace finetuned::storage
