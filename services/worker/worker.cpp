#include "services/worker/worker.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "base/errors.h"
#include "base/log.h"
#include "services/worker/job_data.h"
#include "services/worker/job_observer.h"
#include "services/worker/job_results.h"
#include "services/worker/ranks.h"
#include "services/worker/scratch.h"
#include "storage/donation_store.h"
#include "storage/worker_store.h"
#include "trainer/training/fingerprint.h"
#include "trainer/training/speed.h"

namespace finetuned::worker {

namespace {

using postgres::Scope;
using postgres::Transaction;

constexpr std::chrono::milliseconds kSweepPause{1'000};
constexpr std::chrono::seconds kPatience{2};  // with a base that is read ahead
constexpr std::int64_t kDonatedStateSteps = storage::RecheckStore::kMostSteps / 5;  // a slow disk may put some off
constexpr int kMostResumed = 50;              // of the jobs that the storage failed, at once

storage::JobError refusal(const JobRefused& error) {
  storage::JobError refused{.code = error.code, .message = error.what(), .param = std::nullopt};
  if (!error.param.empty()) refused.param = error.param;
  return refused;
}

/// What a run's speed depends on, beside its base.
std::string class_of(const std::vector<tensor::DeviceSpec>& devices) {
  const std::string one = tensor::device_class(devices.front());
  return devices.size() == 1 ? one : std::to_string(devices.size()) + " x " + one;
}

/// Often enough that each part of it can be checked by itself.
std::int64_t donated_state_steps(std::int64_t wanted) {
  return wanted > 0 ? std::min(wanted, kDonatedStateSteps) : kDonatedStateSteps;
}

std::string engine_of(const tensor::DeviceSpec& device) {
  training::RunConfig config;
  config.device = device;
  return training::engine_sha256(config);
}

}  // namespace

struct Worker::Waker {
  std::mutex mutex;
  std::condition_variable_any changed;
  bool awake = false;
};

Worker::Worker(postgres::Pool& pool, objects::ObjectStore& store, WorkerOptions options)
    : pool_(pool), store_(store), options_(std::move(options)),
      device_class_(class_of(options_.devices)), engine_(engine_of(options_.devices.front())), memory_bytes_(tensor::device_memory_bytes(options_.devices.front(), options_.memory_bytes)),
      waker_(std::make_unique<Waker>()), storage_gate_(store, options_.scratch_directory), bases_(memory_bytes_, kPatience, options_.devices.front()), preloader_(pool, bases_),
      recheck_(pool, store, bases_, {options_.scratch_directory, options_.link, options_.devices.front(), options_.threads, memory_bytes_}) {}

Worker::~Worker() = default;

void Worker::wake() {
  const std::lock_guard lock(waker_->mutex);
  waker_->awake = true;
  waker_->changed.notify_all();
}

void Worker::run(const std::stop_token& stop) {
  if (const auto swept = Scratch::sweep(options_.scratch_directory); swept > 0)
    base::log_info("removed what dead workers left", {{"folders", static_cast<std::int64_t>(swept)}});
  while (!stop.stop_requested()) {
    try {
      if (run_one(stop)) continue;
    } catch (const tensor::CudaFailed&) {
      throw;  // no later job could use the GPU either: the process is to be begun anew
    } catch (const std::exception& error) {
      base::log_error("no job can be claimed; trying again", {{"why", error.what()}});
    }
    std::unique_lock lock(waker_->mutex);
    waker_->changed.wait_for(lock, stop, kSweepPause, [this] { return waker_->awake; });
    waker_->awake = false;
  }
  say_goodbye();
}

/// So that nobody counts on this worker from now on; without it they would for half a minute.
void Worker::say_goodbye() {
  try {
    pool_.transact(Scope::system(), [&](Transaction& tx) { storage::WorkerStore(tx).gone(options_.name); });
  } catch (const std::exception& error) {
    base::log_warn("the worker's end could not be told", {{"why", error.what()}});
  }
}

/// What there is to do. `refused`: why the operator lets this worker have nothing.
struct Worker::Claimed {
  std::optional<storage::ClaimedJob> job;
  std::optional<storage::ClaimedRecheck> check;
  std::string refused;
};

/// The job whose turn it is decides over a contribution: not for a donated worker.
struct Worker::NotOurs {};

Worker::Claimed Worker::claim(Transaction& tx) {
  Claimed claimed;
  storage::DonationStore donations(tx);
  const auto donated = donations.find_for_claim(options_.known_as);
  if (donated && !donated->gets_jobs())
    claimed.refused = "it was donated, and is withdrawn or stopped: finetuned admin workers list";
  else if (!donated && !options_.known_as.empty() && !donations.is_own(options_.known_as))
    claimed.refused = "machines are donated here, and nobody has said whose this one is: finetuned admin workers own " + options_.known_as +
                      ", or finetuned admin workers donate";
  if (!claimed.refused.empty()) return claimed;
  const auto claim_check = [&] {
    claimed.check = storage::RecheckStore(tx).claim(options_.name, engine_, options_.link.lease_seconds);
    return claimed.check.has_value();
  };
  if (!donated && !checked_last_ && claim_check()) return claimed;
  claimed.job = storage::JobLeases(tx).claim(options_.name, options_.link.lease_seconds);
  if (claimed.job && donated && donations.decides(claimed.job->job.id)) throw NotOurs();
  if (claimed.job && donated) claimed.job->stretch = donations.begin_stretch(*claimed.job, *donated, engine_);
  if (!claimed.job && !donated && checked_last_) claim_check();
  return claimed;
}

bool Worker::run_one(const std::stop_token& stop) {
  const bool storage_works = storage_gate_.open();
  const auto asked = std::chrono::steady_clock::now();
  bool jobs_wait_for_storage = false;
  const auto say_hello = [this](Transaction& tx) {
    storage::WorkerStore(tx).seen({options_.name, device_class_, options_.known_as, engine_});
  };
  const auto look = [&](Transaction& tx) -> Claimed {
    say_hello(tx);
    jobs_wait_for_storage = storage::StoragePauses(tx).any_due();
    if (!storage_works || jobs_wait_for_storage) return {};
    return claim(tx);
  };
  Claimed next;
  try {
    next = pool_.transact(Scope::system(), look);
  } catch (const NotOurs&) {  // the claim is taken back: the operator's worker will
    pool_.transact(Scope::system(), say_hello);
    return false;
  }
  if (next.refused != told_refused_ && !next.refused.empty())
    base::log_warn("this worker gets no jobs", {{"worker", options_.known_as}, {"why", next.refused}});
  told_refused_ = next.refused;
  checked_last_ = next.check.has_value();
  if (storage_works && jobs_wait_for_storage) return resume_after_storage();
  if (next.check) return recheck_.run(*next.check, asked, stop), true;
  const auto& claimed = next.job;
  if (!claimed) return false;
  base::log_info("job claimed", {{"job", claimed->job.id}, {"epoch", claimed->lease.epoch}});
  JobLink link(pool_, *claimed, asked, options_.link);
  try {
    run_job(*claimed, link, stop);
  } catch (const LeaseLost& error) {
    base::log_warn("job abandoned", {{"job", claimed->job.id}, {"epoch", claimed->lease.epoch}, {"why", error.what()}});
  } catch (const tensor::CudaFailed& error) {
    give_up(*claimed, link, error.what());
    throw;
  } catch (const std::exception& error) {
    give_up(*claimed, link, error.what());
  }
  return true;
}

/// Queues what waits for the storage, where that works. True when there is something to claim now.
bool Worker::resume_after_storage() {
  if (!storage_gate_.probe()) return false;
  const auto resumed = pool_.transact(Scope::system(), [](Transaction& tx) { return storage::StoragePauses(tx).resume_due(kMostResumed); });
  for (const std::string& job : resumed) base::log_info("a job is queued again: the storage works", {{"job", job}});
  return true;
}

double Worker::gemm_gflops() {
  if (!gemm_gflops_) {
    tensor::AnyDevice device(options_.devices.front(), options_.threads);
    gemm_gflops_ = device.visit([](const auto& on) { return training::gemm_gflops(on); });
  }
  return *gemm_gflops_;
}

/// A run that fits no device is refused before anything is read for it; one that cannot go on from its state begins anew.
training::RunResult Worker::train(const std::string& job_id, JobData& data, const std::filesystem::path& scratch, JobObserver& observer) {
  Ranks ranks{.devices = options_.devices, .program = options_.program, .memory_bytes = options_.memory_bytes,
              .base_fingerprint = {}, .peer_timeout = options_.peer_timeout};
  const RanksPlan planned = plan_by_ranks(data, static_cast<int>(ranks.devices.size()));
  ranks.devices.resize(static_cast<std::size_t>(planned.ranks));
  if (planned.ranks > 1) base::log_info("the job takes several devices", {{"job", job_id}, {"devices", planned.ranks}});
  std::uint64_t bytes = 0;
  for (const auto& line : planned.plan.memory) bytes += line.bytes;
  const double gflops = gemm_gflops() * static_cast<double>(ranks.devices.size());
  struct Stopped {};
  const auto go_on = [&observer] {
    if (observer.stop_requested()) throw Stopped();
  };
  try {
    const ResidentBases::Lent base = bases_.lend(data.config.run.base_directory, bytes, go_on);
    ranks.base_fingerprint = base.fingerprint();
    const training::RunResources resources{
        .base = &base.weights(), .base_hashes = &base.hashes(), .gemm_gflops = gflops};
    try {
      return train_by_ranks(ranks, data, scratch / "order", observer, resources);
    } catch (const training::StateRefused& refused) {  // no doing of the job's owner
      base::log_warn("a job begins anew", {{"job", job_id}, {"why", refused.what()}});
      observer.begins_anew(refused.what());
      data.config.run.resume_from.clear();
      return train_by_ranks(ranks, data, scratch / "order", observer, resources);
    }
  } catch (const Stopped&) {  // before its first step
    training::RunResult result;
    result.stopped = true;
    return result;
  }
}

void Worker::run_job(const storage::ClaimedJob& claimed, JobLink& link, const std::stop_token& stop) {
  const storage::Job& job = claimed.job;
  const auto fail = [&](const storage::JobError& error) {
    publish_failure(link, job, error);
    base::log_info("job failed", {{"job", job.id}, {"code", error.code}, {"why", error.message}});
  };
  try {
    const Scratch scratch(options_.scratch_directory, job.id, claimed.lease.epoch);
    JobData data = load_job_data(pool_, store_, job, bases_, scratch.path());
    data.config.run.device = options_.devices.front();
    data.config.run.threads = options_.threads;
    data.config.run.memory_limit_bytes = memory_bytes_;
    data.config.run.state_file = scratch.path() / "state";
    data.config.run.state_steps = options_.state_steps;
    data.config.run.state_seconds = options_.state_seconds;
    if (claimed.stretch) data.config.run.state_steps = donated_state_steps(options_.state_steps);
    const std::string model_name =
        fine_tuned_model_name(job.base_model, data.organization, job.suffix.value_or(""), job.id);
    const JobObserver::Options options{.project_id = job.project_id,
                                       .model_name = model_name,
                                       .told_steps = data.told_steps,
                                       .early_stopping_patience = data.config.early_stopping_patience};
    JobObserver observer(link, store_, options, stop);
    const training::RunResult result = train(job.id, data, scratch.path(), observer);
    if (link.lost()) throw LeaseLost(job.id);
    if (!result.stopped || observer.stopped_early()) {
      publish_success(link, store_, job, model_name, result, observer.tokens_after(result.last.step));
      base::log_info("job succeeded", {{"job", job.id}, {"tokens", result.last.trained_tokens}});
    } else if (link.cancel_requested()) {
      publish_cancelled(link, job);
      base::log_info("job cancelled", {{"job", job.id}, {"step", result.last.step}});
    } else {
      const StopCause cause = stop.stop_requested()        ? StopCause::kShutDown
                              : link.preempt_requested() ? StopCause::kPreempted
                                                         : StopCause::kAsked;
      const auto state = publish_stop(link, store_, job, result, data.config.run.state_file, cause);
      base::log_info("job stopped", {{"job", job.id}, {"step", result.last.step}, {"now", to_string(state)}});
    }
  } catch (const JobRefused& error) {
    fail(refusal(error));
  } catch (const base::FormatError& error) {
    fail({.code = "invalid_format", .message = error.what(), .param = std::nullopt});
  } catch (const training::Diverged& error) {
    fail({.code = "training_diverged", .message = error.what(), .param = "hyperparameters"});
  } catch (const base::UsageError& error) {
    fail({.code = "invalid_hyperparameters", .message = error.what(), .param = "hyperparameters"});
  } catch (const std::exception& error) {
    const std::string fault = storage_fault_of(error);
    if (fault.empty()) throw;
    pause_for_storage(job, link, fault);
  }
}

/// The device is free for others meanwhile.
void Worker::pause_for_storage(const storage::Job& job, JobLink& link, const std::string& why) {
  storage_gate_.close();
  base::log_error("the storage failed a job", {{"job", job.id}, {"why", why}});
  const storage::JobState now = publish_storage_pause(link, job, options_.storage);
  base::log_warn("job stopped", {{"job", job.id}, {"now", to_string(now)}});
}

/// A fault of ours: the lease ends now instead of running out, so that the sweep counts the crash and queues the job.
void Worker::give_up(const storage::ClaimedJob& claimed, JobLink& link, const std::string& why) {
  base::log_error("job broken off by an unexpected error", {{"job", claimed.job.id}, {"why", why}});
  try {
    link.write([&](Transaction& tx) { return storage::JobLeases(tx).heartbeat(link.lease(), 0).held; },
               [](Transaction&) { return false; });
  } catch (const std::exception& error) {
    base::log_warn("its lease runs out by itself", {{"job", claimed.job.id}, {"why", error.what()}});
  }
}

}  // namespace finetuned::worker
