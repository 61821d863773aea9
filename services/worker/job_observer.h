#pragma once

#include <limits>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "services/worker/job_link.h"
#include "services/worker/job_metrics.h"
#include "storage/donation_evidence.h"
#include "storage/objects/object_store.h"
#include "trainer/training/run.h"

namespace finetuned::worker {

/// Tells the database what the trainer tells: steps as events, adapters as checkpoints. Lives on the
/// run's thread, but for on_checkpoint() and on_state(), which the run calls beside it.
class JobObserver final : public training::RunObserver {
 public:
  struct Options {
    std::string project_id;
    std::string model_name;  ///< of the model to be
    std::int64_t told_steps = 0;  ///< whose events an earlier attempt has left: they are not told again
    std::optional<std::int64_t> early_stopping_patience;
  };

  /// `link` and `store` outlive this.
  JobObserver(JobLink& link, objects::ObjectStore& store, Options options, std::stop_token stop);

  void on_plan(const training::RunPlan& plan) override;
  void on_resume(const std::vector<training::StepMetrics>& taken) override;
  void on_step(const training::StepMetrics& step) override;
  /// Returns when the checkpoint is committed: what it trained is paid for from then on. Throws LeaseLost.
  void on_checkpoint(const training::CheckpointWritten& checkpoint) override;
  /// Returns when the state is committed: the job goes on from there where this worker dies. Throws LeaseLost.
  void on_state(const training::StateWritten& state) override;
  /// Before the run's on_plan(): its state was refused.
  void begins_anew(const std::string& why);
  /// True for a lost lease, a request to cancel, to pause or to make room, the worker's own end, and once early stopping has struck.
  bool stop_requested() override;

  bool stopped_early() const { return stopped_early_; }
  /// The tokens trained by the run's first k + 1 steps, for the first `steps` of them.
  std::vector<std::int64_t> tokens_after(std::int64_t steps) const;

 private:
  void count(const training::StepMetrics& step);
  void forget(const storage::NewCheckpoint& checkpoint);
  void weigh_validation(const training::StepMetrics& step);
  void watch_validation(const training::StepMetrics& step);

  JobLink& link_;
  objects::ObjectStore& store_;
  Options options_;
  std::stop_token stop_;
  Pace pace_;
  mutable std::mutex mutex_;
  std::vector<std::int64_t> tokens_after_;  ///< guarded by mutex_
  double best_valid_loss_ = std::numeric_limits<double>::infinity();
  std::int64_t epochs_without_better_ = 0;
  bool stopped_early_ = false;
};

}  // namespace finetuned::worker
