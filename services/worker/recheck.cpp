#include "services/worker/recheck.h"

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "base/sha256.h"
#include "billing/donation_verdicts.h"
#include "services/worker/job_data.h"
#include "services/worker/scratch.h"
#include "trainer/training/run.h"
#include "trainer/training/run_state.h"

namespace finetuned::worker {

namespace {

namespace fs = std::filesystem;
using postgres::Scope;
using postgres::Transaction;
using std::chrono::steady_clock;
using storage::Evidence;
using storage::RecheckStore;

constexpr const char* kAdapter = "adapter_model.safetensors";

std::string at_step(std::int64_t step) { return step == 0 ? "the job's beginning" : "step " + std::to_string(step); }

/// Nobody can run it: what the job read is gone.
struct CannotBeRun : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace

struct Recheck::Verdict {
  bool agreed = false;
  std::string detail;
};

/// Renews the check's lease, on a thread of its own, until it is lost or this ends.
class Recheck::Lease {
 public:
  Lease(postgres::Pool& pool, const storage::ClaimedRecheck& claimed, steady_clock::time_point claimed_at, const LinkOptions& options)
      : pool_(pool), claimed_(claimed), options_(options), end_(claimed_at + std::chrono::seconds(options.lease_seconds)) {
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  bool lost() const { return lost_; }

 private:
  void run(const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any never;
    while (!lost_) {
      std::unique_lock lock(mutex);
      never.wait_for(lock, stop, options_.heartbeat, [] { return false; });
      if (stop.stop_requested()) return;
      const auto asked = steady_clock::now();
      try {
        const bool held = pool_.transact(
            Scope::system(), [&](Transaction& tx) { return RecheckStore(tx).heartbeat(claimed_, options_.lease_seconds); });
        if (!held) lost_ = true;
        end_ = asked + std::chrono::seconds(options_.lease_seconds);
      } catch (const std::exception& error) {
        base::log_warn("a check's lease could not be renewed; trying again", {{"check", claimed_.id}, {"why", error.what()}});
        if (steady_clock::now() >= end_) lost_ = true;
      }
    }
  }

  postgres::Pool& pool_;
  const storage::ClaimedRecheck& claimed_;
  const LinkOptions options_;
  steady_clock::time_point end_;
  std::atomic<bool> lost_{false};
  std::jthread thread_;  // the last: it uses the others
};

/// Keeps what the run's checkpoints hash to.
class Recheck::Observer final : public training::RunObserver {
 public:
  Observer(const Lease& lease, std::stop_token stop) : lease_(lease), stop_(std::move(stop)) {}

  void on_plan(const training::RunPlan&) override {}
  void on_step(const training::StepMetrics& step) override { tokens_[step.step] = step.trained_tokens; }
  void on_checkpoint(const training::CheckpointWritten& written) override {
    adapters_[written.at.step] = base::sha256_file(written.directory / kAdapter);
  }
  bool stop_requested() override { return broken_off(); }
  bool broken_off() const { return stop_.stop_requested() || lease_.lost(); }

  std::map<std::int64_t, std::int64_t> tokens_;
  std::map<std::int64_t, std::string> adapters_;  // the run has ended before it is read

 private:
  const Lease& lease_;
  std::stop_token stop_;
};

void Recheck::run(const storage::ClaimedRecheck& claimed, steady_clock::time_point claimed_at, const std::stop_token& stop) {
  base::log_info("check claimed", {{"check", claimed.id}, {"worker", claimed.worker}, {"steps", claimed.to_step - claimed.from.step}});
  try {
    const Lease lease(pool_, claimed, claimed_at, options_.link);
    const auto verdict = compare(claimed, lease, stop);
    if (verdict) return decide(claimed, *verdict);
    leave(claimed, "", false);
  } catch (const CannotBeRun& error) {
    pool_.transact(Scope::system(), [&](Transaction& tx) { return RecheckStore(tx).give_up(claimed, error.what()); });
    base::log_warn("a check cannot be run; the operator settles it (finetuned admin workers settle)", {{"check", claimed.id}, {"why", error.what()}});
  } catch (const tensor::CudaFailed& error) {
    leave(claimed, error.what(), true);
    throw;
  } catch (const std::exception& error) {
    leave(claimed, error.what(), true);
  }
}

void Recheck::leave(const storage::ClaimedRecheck& claimed, const std::string& why, bool counts) {
  if (counts) base::log_error("a check failed", {{"check", claimed.id}, {"why", why}});
  try {
    pool_.transact(Scope::system(), [&](Transaction& tx) {
      RecheckStore checks(tx);
      return counts ? checks.fail(claimed, why) : checks.release(claimed);
    });
  } catch (const std::exception& error) {
    base::log_warn("its lease runs out by itself", {{"check", claimed.id}, {"why", error.what()}});
  }
}

void Recheck::decide(const storage::ClaimedRecheck& claimed, const Verdict& verdict) {
  if (verdict.agreed) {
    const bool held = pool_.transact(Scope::system(), [&](Transaction& tx) { return billing::agree(tx, claimed, verdict.detail); });
    if (held) base::log_info("check agreed", {{"check", claimed.id}, {"worker", claimed.worker}, {"what", verdict.detail}});
    return;
  }
  const auto forfeit = pool_.transact(Scope::system(), [&](Transaction& tx) { return billing::disagree(tx, claimed, verdict.detail); });
  if (forfeit)
    base::log_error("a donated worker told something else than it trained: it is stopped",
                    {{"check", claimed.id}, {"worker", claimed.worker}, {"why", verdict.detail},
                     {"forfeited_micro_points", forfeit->micro_points}, {"jobs", static_cast<std::int64_t>(forfeit->jobs.size())}});
}

namespace {

/// The state that the steps begin with, where it is not what its worker told: why.
std::string fault_of_state(const storage::ClaimedRecheck& claimed, const training::RunState& state) {
  const std::string where = "the state of " + at_step(claimed.from.step);
  if (state.steps.back().step != claimed.from.step || state.steps.back().trained_tokens != claimed.from.trained_tokens)
    return where + " is of another step or has other tokens than was told";
  if (!claimed.from.sha256.empty() && training::trained_sha256(state) != claimed.from.sha256) return where + " is not what was told of it";
  return "";
}

JobData data_of(postgres::Pool& pool, objects::ObjectStore& store, const storage::ClaimedRecheck& claimed, ResidentBases& bases,
                const fs::path& scratch) {
  storage::Job job = claimed.job;
  job.saved.reset();
  if (claimed.from.object_id) job.saved = storage::SavedState{*claimed.from.object_id, claimed.from.step, claimed.from.trained_tokens};
  try {
    return load_job_data(pool, store, job, bases, scratch);
  } catch (const JobRefused& refused) {
    throw CannotBeRun(refused.what());
  } catch (const objects::ObjectMissing& missing) {
    throw CannotBeRun("what the job read is gone: " + std::string(missing.what()));
  }
}

std::string adapter_at(const std::map<std::int64_t, std::string>& checkpoints, const training::RunResult& result, std::int64_t step) {
  const auto kept = checkpoints.find(step);
  if (kept != checkpoints.end()) return kept->second;
  return step == result.last.step ? base::sha256_file(result.directory / kAdapter) : "";
}

}  // namespace

std::optional<Recheck::Verdict> Recheck::compare(const storage::ClaimedRecheck& claimed, const Lease& lease, const std::stop_token& stop) {
  const Scratch scratch(options_.scratch_directory, claimed.id, claimed.epoch);
  JobData data = data_of(pool_, store_, claimed, bases_, scratch.path());
  training::RunConfig& run = data.config.run;
  run.device = options_.device;
  run.threads = options_.threads;
  run.memory_limit_bytes = options_.memory_bytes;
  run.state_file = scratch.path() / "state";
  run.stop_after = claimed.to_step;
  training::RunConfig planned = run;  // the same run, laid out as that worker's was
  if (!run.resume_from.empty()) {
    if (!fs::exists(run.resume_from)) throw std::runtime_error("the state of " + at_step(claimed.from.step) + " cannot be had");
    try {
      const training::RunState state = training::read_run_state(run.resume_from);
      if (const std::string fault = fault_of_state(claimed, state); !fault.empty()) {
        if (claimed.from.sha256.empty()) throw CannotBeRun(fault);
        return Verdict{false, fault};
      }
      planned.micro_batch_tokens = state.micro_batch_tokens;
      planned.recompute = state.recompute;
    } catch (const training::StateRefused& refused) {
      if (claimed.from.sha256.empty()) throw CannotBeRun(refused.what());
      return Verdict{false, refused.what()};
    }
  } else if (claimed.layout) {
    planned.micro_batch_tokens = run.micro_batch_tokens = claimed.layout->micro_batch_tokens;
    planned.recompute = run.recompute = claimed.layout->recompute;
  }
  std::uint64_t bytes = 0;
  for (const auto& line : training::plan_training(planned, data.training, data.validation).memory) bytes += line.bytes;
  Observer observer(lease, stop);
  struct BrokenOff {};
  training::RunResult result;
  try {
    const ResidentBases::Lent base = bases_.lend(run.base_directory, bytes, [&] {
      if (observer.broken_off()) throw BrokenOff();
    });
    const training::RunResources resources{.base = &base.weights(), .base_hashes = &base.hashes(), .gemm_gflops = std::nullopt};
    result = training::run_training(run, data.training, data.validation, observer, resources);
  } catch (const BrokenOff&) {
    return std::nullopt;
  } catch (const training::StateRefused& refused) {  // it fits here: what differs is what the state was made with
    if (claimed.from.sha256.empty()) throw CannotBeRun(refused.what());
    return Verdict{false, refused.what()};
  } catch (const training::Diverged& diverged) {
    return Verdict{false, diverged.what()};
  }
  if (observer.broken_off()) return std::nullopt;
  const std::string range = "from " + at_step(claimed.from.step) + " to step " + std::to_string(claimed.to_step);
  if (result.last.step != claimed.to_step) return Verdict{false, "the job has " + std::to_string(result.last.step) + " steps, not " + std::to_string(claimed.to_step)};
  for (const Evidence& told : claimed.expected) {
    const bool is_state = told.kind == Evidence::Kind::kState;
    const std::string hash = is_state ? training::trained_sha256(training::read_run_state(run.state_file))
                                      : adapter_at(observer.adapters_, result, told.step);
    if (hash != told.sha256)
      return Verdict{false, range + ": the " + to_string(told.kind) + " of step " + std::to_string(told.step) + " comes out otherwise"};
    if (observer.tokens_[told.step] != told.trained_tokens)
      return Verdict{false, range + ": " + std::to_string(told.trained_tokens) + " tokens were told at step " + std::to_string(told.step) +
                                ", it has " + std::to_string(observer.tokens_[told.step])};
  }
  return Verdict{true, range + ": the same bits"};
}

}  // namespace finetuned::worker
