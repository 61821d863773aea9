#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "trainer/training/run_state.h"

namespace finetuned::training {

/// Writes a run's states beside it, on a thread of its own, so that the run waits for a copy in memory alone.
class StateKeeper {
 public:
  /// Fills in what of a state never changes, once, on this one's thread.
  using Origin = std::function<RunState::Origin()>;

  /// `config` and `observer` outlive it; so does what `origin` reads.
  StateKeeper(const RunConfig& config, RunObserver& observer, Origin origin);
  /// Waits for what is being written.
  ~StateKeeper();
  StateKeeper(const StateKeeper&) = delete;
  StateKeeper& operator=(const StateKeeper&) = delete;

  /// Whether a state is to be kept after this step: RunConfig's interval is over, and the state before it is written and
  /// told of. Throws what the observer threw.
  bool due(std::int64_t step);
  /// To be filled for keep(): its buffers are those of the state before. Only while due().
  RunState take_buffers() { return std::move(state_); }
  void keep(RunState state);
  /// Returns when nothing is being written any more. Throws what the observer threw.
  void finish();

 private:
  void write_all(const std::stop_token& stop);
  void write_one();
  void rethrow();

  const RunConfig& config_;
  RunObserver& observer_;
  Origin origin_;
  std::optional<RunState::Origin> known_origin_;
  std::int64_t last_step_ = 0;
  std::chrono::steady_clock::time_point last_time_ = std::chrono::steady_clock::now();

  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool busy_ = false;  ///< guarded by mutex_, as all below; while it is true `state_` is the thread's
  std::exception_ptr failure_;
  RunState state_;
  std::jthread thread_;  ///< begun with the first keep()
};

}  // namespace finetuned::training
