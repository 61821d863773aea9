#include "services/inference/engine.h"

#include <algorithm>

#include "base/log.h"
#include "base/sha256.h"

namespace finetuned::inference {

namespace {

using std::chrono::steady_clock;

std::string model_of(const InferenceRequest& request) {
  std::string model = request.base;
  if (request.adapter) model += " " + request.adapter->weights.sha256 + " " + request.adapter->config.sha256;
  return model;
}

base::ApiError leaving() {
  return {503, "server_error", "engine_draining", "This worker is shutting down. Try again shortly.", std::nullopt, true};
}

base::ApiError failed() {
  return {503, "server_error", "engine_failed", "This worker's device failed. Try again shortly.", std::nullopt, true};
}

base::ApiError unexpected() {
  return {500, "server_error", "internal_error", "The model could not answer, for a fault of ours."};
}

}  // namespace

Engine::Engine(ModelShelf& shelf, EngineOptions options) : shelf_(shelf), options_(std::move(options)) {}

void Engine::submit(std::shared_ptr<Call> call, std::shared_ptr<const KnownBase> base) {
  const std::lock_guard lock(mutex_);
  if (broken_) throw failed();
  if (drain_until_) throw leaving();
  drop_unwanted();
  if (waiting_.size() >= options_.queue)
    throw overloaded("The model is busy: " + std::to_string(waiting_.size()) + " requests wait already. Try again shortly.");
  std::string model = model_of(call->request);
  waiting_.push_back({std::move(call), std::move(base), std::move(model)});
  changed_.notify_one();
}

/// Under the mutex.
void Engine::drop_unwanted() {
  const auto now = steady_clock::now();
  std::erase_if(waiting_, [now](const Waiting& one) {
    if (!one.call->cancelled() && now <= one.call->deadline) return false;
    one.call->send(failure_of(overloaded("The model is busy: the request waited until its deadline. Try again shortly.")));
    return true;
  });
}

/// Under the mutex.
void Engine::refuse_waiting(const base::ApiError& error) {
  for (const Waiting& one : waiting_) one.call->send(failure_of(error));
  waiting_.clear();
}

void Engine::drain(steady_clock::time_point deadline) {
  const std::lock_guard lock(mutex_);
  drain_until_ = deadline;
  refuse_waiting(leaving());
  changed_.notify_all();
}

bool Engine::takes_calls() {
  const std::lock_guard lock(mutex_);
  return !broken_ && !drain_until_;
}

std::int64_t Engine::free_places() const {
  return std::max<std::int64_t>(0, static_cast<std::int64_t>(options_.sequences) - running_);
}

std::int64_t Engine::queue_length() {
  const std::lock_guard lock(mutex_);
  drop_unwanted();
  return static_cast<std::int64_t>(waiting_.size());
}

void Engine::run() {
  while (const std::optional<Waiting> first = wait_for_first()) {
    try {
      serve(*first);
    } catch (const tensor::CudaFailed& error) {
      base::log_error("the device for inference failed", {{"why", error.what()}});
      const std::lock_guard lock(mutex_);
      broken_ = true;
      refuse_waiting(failed());
      return;
    }
    running_ = 0;
  }
}

std::optional<Engine::Waiting> Engine::wait_for_first() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return !waiting_.empty() || drain_until_; });
    drop_unwanted();
    if (drain_until_) return std::nullopt;
    if (waiting_.empty()) continue;
    Waiting first = std::move(waiting_.front());
    waiting_.pop_front();
    return first;
  }
}

std::optional<Engine::Waiting> Engine::next_of(const std::string& model) {
  const std::lock_guard lock(mutex_);
  drop_unwanted();
  const auto bound = steady_clock::now() - options_.patience;
  std::size_t found = waiting_.size();
  for (std::size_t i = 0; i < waiting_.size(); ++i) {
    const bool same = waiting_[i].model == model;
    if (!same && waiting_[i].call->arrived < bound) return std::nullopt;
    if (same && found == waiting_.size()) found = i;
  }
  if (found == waiting_.size()) return std::nullopt;
  Waiting next = std::move(waiting_[found]);
  waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(found));
  return next;
}

/// What a step of a running group begins with: those that wait are told of their deadlines meanwhile.
bool Engine::time_is_up() {
  const std::lock_guard lock(mutex_);
  drop_unwanted();
  return drain_until_ && steady_clock::now() > *drain_until_;
}

void Engine::serve(const Waiting& first) {
  try {
    const InferenceRequest& request = first.call->request;
    generate::AnyModel& model = shelf_.take(*first.base, request.adapter);
    const std::string identity = first.base->row.sha256 + "\n" + first.model + "\n" + options_.build;
    Group group(model, *first.base, {"fp_" + base::sha256_hex(identity).substr(0, 16), options_.most_new_tokens});
    try {
      continue_group(group, first);
    } catch (const tensor::CudaFailed&) {
      group.fail(failed());
      throw;
    } catch (const std::exception& error) {
      base::log_error("a model broke off its answers", {{"request", request.request_id}, {"base", request.base}, {"why", error.what()}});
      group.fail(unexpected());
    }
  } catch (const base::ApiError& error) {
    first.call->send(failure_of(error));
  } catch (const tensor::CudaFailed&) {
    first.call->send(failure_of(failed()));
    throw;
  } catch (const std::exception& error) {
    base::log_error("a model cannot be used", {{"request", first.call->request.request_id}, {"base", first.call->request.base}, {"why", error.what()}});
    first.call->send(failure_of(unexpected()));
  }
}

void Engine::continue_group(Group& group, const Waiting& first) {
  admit(group, first);
  while (true) {
    while (group.has_room()) {
      std::optional<Waiting> next = next_of(first.model);
      if (!next) break;
      admit(group, std::move(*next));
    }
    if (group.empty()) return;
    if (time_is_up()) return group.fail(leaving());
    group.step();
    running_ = static_cast<std::int64_t>(group.running());
  }
}

void Engine::admit(Group& group, Waiting next) {
  const std::shared_ptr<Call> call = next.call;
  try {
    group.add(std::move(next.call));
  } catch (const base::ApiError& error) {
    call->send(failure_of(error));
  }
}

}  // namespace finetuned::inference
