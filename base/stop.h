#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

namespace finetuned::base {

/// Sleeps for `pause` or until `stop` is requested, whichever comes first. True when there is no stop: go on.
inline bool sleep_unless_stopped(const std::stop_token& stop, std::chrono::milliseconds pause) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, pause, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace finetuned::base
