#include "trainer/training/state_keeper.h"

#include <utility>

#include "base/expects.h"
#include "base/files.h"

namespace finetuned::training {

using std::chrono::steady_clock;

StateKeeper::StateKeeper(const RunConfig& config, RunObserver& observer, Origin origin)
    : config_(config), observer_(observer), origin_(std::move(origin)) {}

StateKeeper::~StateKeeper() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !busy_; });
}

void StateKeeper::rethrow() {
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

bool StateKeeper::due(std::int64_t step) {
  if (config_.state_file.empty()) return false;
  const bool steps_over = config_.state_steps > 0 && step / config_.state_steps > last_step_ / config_.state_steps;
  const bool time_over =
      config_.state_seconds > 0 && steady_clock::now() - last_time_ >= std::chrono::seconds(config_.state_seconds);
  const std::lock_guard lock(mutex_);
  rethrow();
  return (steps_over || time_over) && !busy_;
}

void StateKeeper::keep(RunState state) {
  last_step_ = state.steps.back().step;
  last_time_ = steady_clock::now();
  const std::lock_guard lock(mutex_);
  base::expects(!busy_, "one state at a time");
  state_ = std::move(state);
  busy_ = true;
  if (!thread_.joinable()) thread_ = std::jthread([this](const std::stop_token& stop) { write_all(stop); });
  changed_.notify_all();
}

void StateKeeper::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !busy_; });
  rethrow();
}

void StateKeeper::write_all(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [this] { return busy_; })) {
    lock.unlock();
    std::exception_ptr failure;
    try {
      write_one();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failure_ = failure;
    busy_ = false;
    changed_.notify_all();
  }
}

void StateKeeper::write_one() {
  if (!known_origin_) known_origin_ = origin_();
  state_.origin = *known_origin_;
  const StepMetrics& last = state_.steps.back();
  StateWritten told{config_.state_file, last.step, last.trained_tokens, ""};
  try {
    write_run_state(config_.state_file, state_);
  } catch (const base::FileError& error) {
    told.lost = error.what();
  }
  observer_.on_state(told);
}

}  // namespace finetuned::training
