#include "storage/job_rows.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_to.hpp>

#include "base/expects.h"
#include "base/ids.h"
#include "storage/json_columns.h"

namespace finetuned::storage {

const char* const kJobColumns =
    "job.id, job.project_id, job.organization_id, job.model, job.base_model, job.state, job.training_file,"
    " job.validation_file, job.hyperparameters, job.method, job.metadata, job.integrations, job.seed, job.suffix, job.priority,"
    " extract(epoch FROM job.created_at)::bigint AS created_at,"
    " extract(epoch FROM job.started_at)::bigint AS started_at,"
    " extract(epoch FROM job.finished_at)::bigint AS finished_at,"
    " extract(epoch FROM job.estimated_finish)::bigint AS estimated_finish, job.fine_tuned_model,"
    " (SELECT coalesce(jsonb_agg(r.file_id ORDER BY r.position), '[]') FROM job_result_file r WHERE r.job_id = job.id)"
    " AS result_files, job.trained_tokens, job.step, job.total_steps, job.error_code, job.error_message,"
    " job.error_param, job.cancel_requested_at IS NOT NULL AS cancel_requested,"
    " job.pause_requested_at IS NOT NULL AS pause_requested,"
    " extract(epoch FROM CASE WHEN job.pause_reason IS NOT NULL THEN job.storage_since END)::bigint AS storage_since,"
    " extract(epoch FROM job.storage_retry_at)::bigint AS storage_retry_at, job.state_object, job.state_step, job.state_tokens, job.worker, job.lease_epoch,"
    " job.attempts, job.price_version, job.quoted_tokens, job.quoted_nano, job.hold_transfer_id, job.points_hold_id,"
    " job.liquidity_hold_id, job.payment,"
    " job.settled_at IS NOT NULL AS settled";

namespace {

constexpr std::pair<JobState, const char*> kStates[] = {
    {JobState::kValidatingFiles, "validating_files"}, {JobState::kQueued, "queued"},
    {JobState::kRunning, "running"},                  {JobState::kPaused, "paused"},
    {JobState::kSucceeded, "succeeded"},              {JobState::kFailed, "failed"},
    {JobState::kCancelled, "cancelled"}};

JobState state_named(const std::string& name) {
  for (const auto& [state, word] : kStates)
    if (name == word) return state;
  base::broken_invariant("a job's state that we know: " + name, std::source_location::current());
}

}  // namespace

std::string to_string(JobState state) {
  for (const auto& [known, word] : kStates)
    if (known == state) return word;
  return "failed";
}

bool is_terminal(JobState state) {
  return state == JobState::kSucceeded || state == JobState::kFailed || state == JobState::kCancelled;
}

std::string to_string(Payment payment) {
  switch (payment) {
    case Payment::kUsd: return "usd";
    case Payment::kPoints: return "points";
    case Payment::kPointsThenUsd: return "points_then_usd";
  }
  return "usd";
}

std::optional<Payment> payment_named(const std::string& name) {
  for (const Payment payment : {Payment::kUsd, Payment::kPoints, Payment::kPointsThenUsd})
    if (name == to_string(payment)) return payment;
  return std::nullopt;
}

std::string to_string(EventLevel level) {
  switch (level) {
    case EventLevel::kInfo: return "info";
    case EventLevel::kWarn: return "warn";
    case EventLevel::kError: return "error";
  }
  return "info";
}

Job read_job_row(const postgres::Row& row) {
  Job job;
  job.id = row.text("id");
  job.project_id = row.text("project_id");
  job.organization_id = row.text("organization_id");
  job.model = row.text("model");
  job.base_model = row.text("base_model");
  job.training_file = row.text("training_file");
  job.validation_file = row.maybe_text("validation_file");
  job.hyperparameters = json_column(row, "hyperparameters");
  job.method = json_column(row, "method");
  job.metadata = json_column(row, "metadata");
  job.integrations = json_column(row, "integrations");
  job.seed = row.integer("seed");
  job.suffix = row.maybe_text("suffix");
  job.priority = static_cast<int>(row.integer("priority"));
  job.state = state_named(row.text("state"));
  job.created_at = row.integer("created_at");
  job.started_at = row.maybe_integer("started_at");
  job.finished_at = row.maybe_integer("finished_at");
  job.estimated_finish = row.maybe_integer("estimated_finish");
  job.fine_tuned_model = row.maybe_text("fine_tuned_model");
  const boost::json::value result_files = json_column(row, "result_files");
  for (const auto& file : result_files.as_array())
    job.result_files.push_back(boost::json::value_to<std::string>(file));
  job.trained_tokens = row.maybe_integer("trained_tokens");
  job.step = row.integer("step");
  job.total_steps = row.integer("total_steps");
  if (!row.is_null("error_code"))
    job.error = JobError{row.text("error_code"), row.text("error_message"), row.maybe_text("error_param")};
  job.cancel_requested = row.boolean("cancel_requested");
  job.pause_requested = row.boolean("pause_requested");
  if (!row.is_null("storage_retry_at"))
    job.storage_pause = StoragePause{row.integer("storage_since"), row.integer("storage_retry_at")};
  if (!row.is_null("state_object"))
    job.saved = SavedState{row.text("state_object"), row.integer("state_step"), row.integer("state_tokens")};
  job.worker = row.maybe_text("worker");
  job.lease_epoch = row.integer("lease_epoch");
  job.attempts = static_cast<int>(row.integer("attempts"));
  job.price_version = row.maybe_integer("price_version");
  job.quoted_tokens = row.maybe_integer("quoted_tokens");
  job.quoted_nano = row.maybe_integer("quoted_nano");
  job.hold_transfer_id = row.maybe_text("hold_transfer_id");
  job.points_hold_id = row.maybe_text("points_hold_id");
  job.liquidity_hold_id = row.maybe_text("liquidity_hold_id");
  const auto payment = payment_named(row.text("payment"));
  base::expects(payment.has_value(), "a job's payment that we know");
  job.payment = *payment;
  job.settled = row.boolean("settled");
  return job;
}

void insert_events(postgres::Transaction& tx, const std::string& job_id, const std::string& project_id,
                   const std::vector<NewEvent>& events) {
  if (events.empty()) return;
  boost::json::array rows;
  for (const NewEvent& event : events)
    rows.push_back(boost::json::object{{"id", event.id.empty() ? base::make_id("ftevent") : event.id},
                                       {"type", event.is_metrics ? "metrics" : "message"},
                                       {"level", to_string(event.level)},
                                       {"message", event.message},
                                       {"data", event.data}});
  tx.execute_later(
      "INSERT INTO job_event (id, job_id, project_id, type, level, message, data)"
      " SELECT e.row->>'id', $1, $2, e.row->>'type', e.row->>'level', e.row->>'message',"
      " nullif(e.row->'data', 'null'::jsonb)"
      " FROM jsonb_array_elements($3::jsonb) WITH ORDINALITY AS e(row, place) ORDER BY place"
      " ON CONFLICT (id) DO NOTHING",
      {job_id, project_id, boost::json::serialize(rows)});
}

}  // namespace finetuned::storage
