#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "trainer/training/output.h"
#include "trainer/training/run_state.h"

namespace finetuned::training {

/// Writes a run's checkpoints and states beside it, one at a time and in their order, on a thread of its own: the run waits
/// for a copy in memory, and for a disk that is slower than the steps between two checkpoints.
class Keeper {
 public:
  /// Fills in what of a state never changes, once, on this one's thread.
  using Origin = std::function<RunState::Origin()>;

  /// `config` and `observer` outlive it; so does what `origin` reads.
  Keeper(const RunConfig& config, RunObserver& observer, Origin origin);
  /// Waits for what is being written.
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  /// Waits until nothing else is being written. Throws what the observer threw, and what the disk refused to take before.
  void keep_checkpoint(Trained trained, const StepMetrics& at);

  /// Whether a state is to be kept after this step: RunConfig's interval is over, and nothing is being written. Throws as
  /// keep_checkpoint().
  bool state_due(std::int64_t step);
  /// To be filled for keep_state(): its buffers are those of the state before. Only while state_due(), and after finish().
  RunState take_buffers() { return std::move(state_); }
  void keep_state(RunState state);

  /// Returns when nothing is being written any more. Throws as keep_checkpoint().
  void finish();

 private:
  void begin(std::function<void()> work);
  void work_through(const std::stop_token& stop);
  void write_state();
  void rethrow();

  const RunConfig& config_;
  RunObserver& observer_;
  Origin origin_;
  std::optional<RunState::Origin> known_origin_;
  std::int64_t last_step_ = 0;  ///< whose state was kept
  std::chrono::steady_clock::time_point last_time_ = std::chrono::steady_clock::now();

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::function<void()> work_;  ///< guarded by mutex_, as all below; empty: nothing is being written
  std::exception_ptr failure_;
  Trained trained_;  ///< the thread's while something is being written, as all below
  RunState state_;
  std::jthread thread_;  ///< begun with the first work
};

}  // namespace finetuned::training
