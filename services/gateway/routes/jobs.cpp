#include "base/errors.h"
#include "base/ids.h"
#include "billing/settlement.h"
#include "services/gateway/job_reads.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "storage/job_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

namespace {

constexpr int kMostListed = 100;
constexpr int kDefaultJobs = 20, kDefaultEvents = 20, kDefaultCheckpoints = 10;

storage::Job find_job(Transaction& tx, const std::string& id) {
  auto job = base::is_id(id, "ftjob") ? storage::JobStore(tx).find(id) : std::nullopt;
  if (!job) throw no_such_job(id);
  return *job;
}

base::ApiError ended(const storage::Job& job) {
  return base::bad_request("job_already_ended", "Job '" + job.id + "' has ended already: " + to_string(job.state) + ".",
                           "fine_tuning_job_id");
}

base::ApiError cancelling(const std::string& id, const char* what) {
  return base::bad_request("job_cancelling", "Job '" + id + "' is being cancelled; it cannot be " + what + ".",
                           "fine_tuning_job_id");
}

/// `metadata[k]=v` pairs; none where `metadata=null`, which clients write `metadata=` as well; nullopt without either.
std::optional<json::object> metadata_filter(const Request& request) {
  const auto whole = request.query_value("metadata");
  const auto pairs = request.query_map("metadata");
  if (whole && ((!whole->empty() && *whole != "null") || !pairs.empty()))
    throw base::bad_request("invalid_value", "Filter by pairs, metadata[key]=value, or by metadata=null for jobs without any.", "metadata");
  if (!whole && pairs.empty()) return std::nullopt;
  json::object filter;
  for (const auto& [key, value] : pairs) filter[key] = value;
  return filter;
}

Response list_jobs(const Platform& platform, const Request& request) {
  const auto page = page_request(request, kDefaultJobs, kMostListed);
  const auto filter = metadata_filter(request);
  const std::string& project = request.principal.project_id;
  const auto jobs = platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    return storage::JobStore(tx).list(project, page, filter);
  });
  return json_response(cursor_list(jobs, job_shape));
}

/// A job that never ran is cancelled now, and its hold given back in the same transaction. A running one is told to
/// stop: its worker ends and settles it. Cancelling a cancelled job again changes nothing.
Response cancel_job(const Platform& platform, const Request& request) {
  const std::string& id = request.params.at(0);
  const auto job = platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    const storage::Job before = find_job(tx, id);
    if (before.state == storage::JobState::kSucceeded || before.state == storage::JobState::kFailed) throw ended(before);
    storage::JobStore jobs(tx);
    const auto after = jobs.request_cancel(id);
    if (!after) throw no_such_job(id);
    if (is_terminal(after->state)) billing::settle_job(tx, id);
    return find_job(tx, id);
  });
  return json_response(job_shape(job));
}

/// A queued job is paused now; a running one within a step, with all that it needs to go on. Pausing a paused job changes nothing.
Response pause_job(const Platform& platform, const Request& request) {
  const std::string& id = request.params.at(0);
  const auto job = platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    find_job(tx, id);
    const auto after = storage::JobStore(tx).request_pause(id);
    if (!after) throw no_such_job(id);
    if (is_terminal(after->state)) throw ended(*after);
    if (after->state == storage::JobState::kValidatingFiles)
      throw base::bad_request("job_not_started", "Job '" + id + "' still waits for its files to be checked; pause it once it is queued.",
                              "fine_tuning_job_id");
    if (after->cancel_requested) throw cancelling(id, "paused");
    return *after;
  });
  return json_response(job_shape(job));
}

/// Behind the jobs that wait. Resuming a job that is not paused changes nothing.
Response resume_job(const Platform& platform, const Request& request) {
  const std::string& id = request.params.at(0);
  const auto job = platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    find_job(tx, id);
    const auto after = storage::JobStore(tx).resume(id);
    if (!after) throw no_such_job(id);
    if (is_terminal(after->state)) throw ended(*after);
    if (after->cancel_requested) throw cancelling(id, "resumed");
    return *after;
  });
  return json_response(job_shape(job));
}

Response list_events(const Platform& platform, const Request& request) {
  const auto page = page_request(request, kDefaultEvents, kMostListed);
  const auto events = platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    const storage::Job job = find_job(tx, request.params.at(0));
    return storage::JobStore(tx).list_events(job.id, page);
  });
  return json_response(cursor_list(events, event_shape));
}

Response list_checkpoints(const Platform& platform, const Request& request) {
  const auto page = page_request(request, kDefaultCheckpoints, kMostListed);
  const auto checkpoints =
      platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
        const storage::Job job = find_job(tx, request.params.at(0));
        return storage::JobStore(tx).list_checkpoints(job.id, page);
      });
  return json_response(cursor_list(checkpoints, checkpoint_shape));
}

}  // namespace

void add_job_routes(Router& router, const Platform& platform) {
  using Answer = Response (*)(const Platform&, const Request&);
  const auto add = [&](const char* method, const char* path, Answer answer) {
    router.add(method, path, Access::kProject,
               [&platform, answer](const Request& request) { return answer(platform, request); });
  };
  add("GET", "/v1/fine_tuning/jobs", list_jobs);
  router.add_async("GET", "/v1/fine_tuning/jobs/{fine_tuning_job_id}", Access::kProject,
                   [&platform](const Request& request, Answered answered) {
                     platform.job_reads.read(request.principal.project_id, request.params.at(0), std::move(answered));
                   });
  add("POST", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/cancel", cancel_job);
  add("POST", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/pause", pause_job);
  add("POST", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/resume", resume_job);
  add("GET", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/events", list_events);
  add("GET", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints", list_checkpoints);
}

}  // namespace finetuned::gateway
