#include "trainer/training/keeper.h"

#include <utility>

#include "base/expects.h"
#include "base/files.h"

namespace finetuned::training {

using std::chrono::steady_clock;

Keeper::Keeper(const RunConfig& config, RunObserver& observer, Origin origin)
    : config_(config), observer_(observer), origin_(std::move(origin)) {}

Keeper::~Keeper() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !work_; });
}

void Keeper::rethrow() {
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Keeper::keep_checkpoint(Trained trained, const StepMetrics& at) {
  finish();
  trained_ = std::move(trained);
  begin([this, at] {
    observer_.on_checkpoint({write_checkpoint(config_, trained_, at.step), at});
    trained_ = {};
  });
}

bool Keeper::state_due(std::int64_t step) {
  const bool steps_over = config_.state_steps > 0 && step / config_.state_steps > last_step_ / config_.state_steps;
  const bool time_over =
      config_.state_seconds > 0 && steady_clock::now() - last_time_ >= std::chrono::seconds(config_.state_seconds);
  const std::lock_guard lock(mutex_);
  rethrow();
  return !config_.state_file.empty() && (steps_over || time_over) && !work_;
}

void Keeper::keep_state(RunState state) {
  last_step_ = state.steps.back().step;
  last_time_ = steady_clock::now();
  state_ = std::move(state);
  begin([this] { write_state(); });
}

void Keeper::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !work_; });
  rethrow();
}

void Keeper::begin(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  base::expects(!work_, "one thing is written at a time");
  work_ = std::move(work);
  if (!thread_.joinable()) thread_ = std::jthread([this](const std::stop_token& stop) { work_through(stop); });
  changed_.notify_all();
}

void Keeper::work_through(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [this] { return static_cast<bool>(work_); })) {
    lock.unlock();
    std::exception_ptr failure;
    try {
      work_();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failure_ = failure;
    work_ = nullptr;
    changed_.notify_all();
  }
}

void Keeper::write_state() {
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
