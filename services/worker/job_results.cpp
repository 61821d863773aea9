#include "services/worker/job_results.h"

#include "base/files.h"
#include "base/ids.h"
#include "base/log.h"
#include "billing/donations.h"
#include "billing/settlement.h"
#include "billing/usage.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "storage/removal_store.h"
#include "trainer/training/run_state.h"

namespace finetuned::worker {

namespace {

using postgres::Transaction;
using storage::JobLeases;

constexpr std::int64_t kWritingSeconds = 3'600;  // no state is written for so long
constexpr const char* kResultNames[] = {"adapter_model.safetensors", "adapter_config.json", "step_metrics.csv",
                                        "manifest.json"};

/// Result objects, removed again unless the job's end names them.
class StoredResults {
 public:
  StoredResults(objects::ObjectStore& store, std::string job_id) : store_(store), job_id_(std::move(job_id)) {}

  void add(const storage::Job& job, const training::RunResult& result) {
    for (const char* name : kResultNames) {
      const objects::StoredObject object = objects::store_file(store_, result.directory / name);
      storage::NewFile file;
      file.id = base::make_id("file");
      file.project_id = job.project_id;
      file.purpose = "fine-tune-results";
      file.filename = name;
      file.bytes = static_cast<std::int64_t>(object.bytes);
      file.sha256 = object.sha256;
      file.object_id = object.id;
      file.status = storage::FileStatus::kProcessed;
      files_.push_back(std::move(file));
    }
  }
  ~StoredResults() {
    if (kept_) return;
    for (const storage::NewFile& file : files_) {
      try {
        store_.remove(file.object_id);
      } catch (const std::exception& error) {
        base::log_warn("an unused result stays on disk", {{"job", job_id_}, {"object", file.object_id}, {"why", error.what()}});
      }
    }
  }
  StoredResults(const StoredResults&) = delete;
  StoredResults& operator=(const StoredResults&) = delete;

  void keep() { kept_ = true; }
  const std::vector<storage::NewFile>& files() const { return files_; }
  std::vector<std::string> file_ids() const {
    std::vector<std::string> ids;
    for (const storage::NewFile& file : files_) ids.push_back(file.id);
    return ids;
  }

 private:
  objects::ObjectStore& store_;
  const std::string job_id_;
  std::vector<storage::NewFile> files_;
  bool kept_ = false;
};

storage::NewEvent message(storage::EventLevel level, std::string text) {
  storage::NewEvent event;
  event.level = level;
  event.message = std::move(text);
  return event;
}

/// After a commit of unknown outcome: whether the job is where this worker brought it.
auto is_in_state(const JobLink& link, storage::JobState state) {
  return [&link, state](Transaction& tx) {
    const auto job = storage::JobStore(tx).find(link.lease().job_id);
    return job && job->state == state && job->lease_epoch == link.lease().epoch;
  };
}

/// After a commit of unknown outcome: whether this worker has the job no more. Another may have it by now.
auto has_left(const JobLink& link) {
  return [&link](Transaction& tx) {
    const auto now = storage::JobStore(tx).find(link.lease().job_id);
    return now && (now->state != storage::JobState::kRunning || now->lease_epoch != link.lease().epoch);
  };
}

/// The run's state as an object; empty where it left none, or where it could not be kept, which is logged. It stands on the
/// list of removals until a row names it: whatever ends this worker, it does not stay for good.
std::optional<storage::SavedState> store_state(JobLink& link, objects::ObjectStore& store, const std::string& project_id,
                                               const training::StateWritten& written) {
  const auto lost = [&](const std::string& why) {
    base::log_error("a job's state cannot be kept", {{"job", link.lease().job_id}, {"step", written.step}, {"why", why}});
    return std::nullopt;
  };
  if (!written.lost.empty()) return lost(written.lost);
  if (!std::filesystem::exists(written.file)) return std::nullopt;
  const auto begins = [&](const std::string& id) {
    const auto add = [&](Transaction& tx) {
      storage::RemovalStore(tx).add(project_id, id, kWritingSeconds);
      return true;
    };
    link.write(add, [](Transaction&) { return false; });  // adding it again is harmless
  };
  try {
    return storage::SavedState{objects::store_file(store, written.file, begins).id, written.step, written.trained_tokens};
  } catch (const objects::StorageFault& error) {
    return lost(error.detail);
  } catch (const base::FileError& error) {
    return lost(error.what());
  }
}

/// What a donated worker says of the state; empty of another worker.
std::optional<storage::Evidence> evidence_of(const JobLink& link, const storage::SavedState& saved, const training::StateWritten& written) {
  if (!link.stretch()) return std::nullopt;
  const std::string trained = training::trained_sha256(training::read_run_state(written.file));
  return storage::Evidence{storage::Evidence::Kind::kState, saved.step, saved.trained_tokens, trained, saved.object_id};
}

/// What a job's owner reads of a run that was stopped; `kept`: the step that it goes on after.
storage::NewEvent stop_message(storage::JobState state, StopCause cause, std::int64_t reached, std::int64_t kept) {
  if (state == storage::JobState::kCancelled) return message(storage::EventLevel::kInfo, "The job was cancelled");
  std::string text = "The job goes back to the queue";
  if (state == storage::JobState::kPaused) text = "The job is paused after step " + std::to_string(kept);
  else if (cause == StopCause::kShutDown) text = "The worker is shutting down; the job goes back to the queue";
  else if (cause == StopCause::kPreempted)
    text = "The job makes room for another project, which has had less than its share; it is queued again and goes on after step " +
           std::to_string(kept);
  if (reached <= kept) return message(storage::EventLevel::kInfo, std::move(text));
  text += "; steps " + std::to_string(kept + 1) + " to " + std::to_string(reached) + " could not be saved and are taken again";
  return message(storage::EventLevel::kWarn, std::move(text));
}

}  // namespace

void publish_success(JobLink& link, objects::ObjectStore& store, const storage::Job& job, const std::string& model_name,
                     const training::RunResult& result, std::span<const std::int64_t> tokens_after) {
  StoredResults results(store, job.id);
  results.add(job, result);
  link.flush();
  storage::FineTunedModel model;
  model.name = model_name;
  model.project_id = job.project_id;
  model.job_id = job.id;
  model.base_model = job.base_model;
  model.objects[kResultNames[0]] = results.files()[0].object_id;
  model.objects[kResultNames[1]] = results.files()[1].object_id;
  const std::vector<storage::NewEvent> events{
      message(storage::EventLevel::kInfo, "New fine-tuned model created: " + model_name),
      message(storage::EventLevel::kInfo, "The job has successfully completed")};
  const auto finish = [&](Transaction& tx) {
    JobLeases leases(tx);
    if (!leases.append_events(link.lease(), events)) return false;
    for (const storage::NewFile& file : results.files()) storage::FileStore(tx).create(file);
    storage::ModelStore(tx).add_fine_tuned(model);
    const training::StepMetrics& last = result.last;
    if (!leases.set_progress(link.lease(), last.step, last.total_steps, last.trained_tokens, std::nullopt)) return false;
    if (!leases.succeed(link.lease(), model_name, results.file_ids(), last.trained_tokens)) return false;
    link.tell(tx, {storage::Evidence::Kind::kResult, last.step, last.trained_tokens, results.files()[0].sha256, std::nullopt});
    if (link.stretch()) billing::earn(tx, *link.stretch(), tokens_after);
    billing::book_usage(tx, job.id, link.lease().epoch, tokens_after);
    billing::settle_job(tx, job.id);
    return true;
  };
  link.write(finish, is_in_state(link, storage::JobState::kSucceeded));
  results.keep();
}

void publish_cancelled(JobLink& link, const storage::Job& job) {
  link.flush();
  const std::vector<storage::NewEvent> events{message(storage::EventLevel::kInfo, "The job was cancelled")};
  const auto finish = [&](Transaction& tx) {
    JobLeases leases(tx);
    if (!leases.append_events(link.lease(), events) || !leases.finish_cancelled(link.lease())) return false;
    billing::settle_job(tx, job.id);
    return true;
  };
  link.write(finish, is_in_state(link, storage::JobState::kCancelled));
}

void publish_failure(JobLink& link, const storage::Job& job, const storage::JobError& error) {
  link.flush();
  const std::vector<storage::NewEvent> events{
      message(storage::EventLevel::kError, "The job failed: " + error.message)};
  const auto finish = [&](Transaction& tx) {
    JobLeases leases(tx);
    if (!leases.append_events(link.lease(), events) || !leases.fail(link.lease(), error)) return false;
    billing::settle_job(tx, job.id);
    return true;
  };
  link.write(finish, is_in_state(link, storage::JobState::kFailed));
}

void publish_state(JobLink& link, objects::ObjectStore& store, const std::string& project_id,
                   const training::StateWritten& written) {
  try {
    const auto saved = store_state(link, store, project_id, written);
    if (!saved) return;
    const auto evidence = evidence_of(link, *saved, written);
    link.flush();  // what is told of a step stands there before the state that has it
    const auto save = [&](Transaction& tx) {
      if (!JobLeases(tx).save_state(link.lease(), *saved)) return false;
      if (evidence) link.tell(tx, *evidence);
      return true;
    };
    link.write(save, [](Transaction&) { return false; });  // saving it again is harmless
  } catch (const LeaseLost&) {
    throw;
  } catch (const std::exception& error) {
    base::log_error("a job's state cannot be kept",
                    {{"job", link.lease().job_id}, {"step", written.step}, {"why", error.what()}});
  }
}

storage::JobState publish_stop(JobLink& link, objects::ObjectStore& store, const storage::Job& job,
                               const training::RunResult& result, const std::filesystem::path& state_file, StopCause cause) {
  const training::StateWritten left{state_file, result.last.step, result.last.trained_tokens, result.state_lost};
  const std::optional<storage::SavedState> saved = store_state(link, store, job.project_id, left);
  const auto evidence = saved ? evidence_of(link, *saved, left) : std::nullopt;
  link.flush();
  storage::JobState reached = storage::JobState::kQueued;
  const auto finish = [&](Transaction& tx) {
    const auto state = JobLeases(tx).release(link.lease(), saved);
    if (!state) return false;
    if (evidence) link.tell(tx, *evidence);
    reached = *state;
    storage::JobStore jobs(tx);
    const auto kept = jobs.find(job.id)->saved;
    jobs.append_event(job.id, stop_message(reached, cause, result.last.step, kept ? kept->step : 0));
    if (reached == storage::JobState::kCancelled) billing::settle_job(tx, job.id);
    return true;
  };
  link.write(finish, has_left(link));
  return reached;
}

storage::JobState publish_storage_pause(JobLink& link, const storage::Job& job, const storage::StorageRule& rule) {
  link.flush();
  storage::JobState reached = storage::JobState::kPaused;
  const auto pause = [&](Transaction& tx) {
    const auto state = storage::StoragePauses(tx).pause(link.lease(), rule);
    if (!state) return false;
    reached = *state;
    if (reached == storage::JobState::kCancelled) billing::settle_job(tx, job.id);
    return true;
  };
  link.write(pause, has_left(link));
  if (reached != storage::JobState::kFailed) return reached;
  publish_failure(link, job, {.code = "internal_error",
                              .message = "The platform's storage has failed the job for " +
                                         std::to_string(rule.patience_seconds / 3'600) +
                                         " hours. Nothing is billed. Create the job again; if this comes back, tell the operator.",
                              .param = std::nullopt});
  return reached;
}

}  // namespace finetuned::worker
