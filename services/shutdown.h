#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>

namespace finetuned::services {

/// Turns SIGTERM and SIGINT into a stop token, and SIGHUP into a call. Build it in `main` before any other thread starts, so that every thread
/// inherits the blocked signals and only this object's own thread hears them.
///
/// The first signal requests the stop and starts the drain; a second one, or the drain's end, leaves the process at
/// once with exit status 1 (every write of the platform survives that).
class Shutdown {
 public:
  explicit Shutdown(std::chrono::milliseconds drain);
  ~Shutdown();
  Shutdown(const Shutdown&) = delete;
  Shutdown& operator=(const Shutdown&) = delete;

  std::stop_token token() const;

  /// SIGHUP calls `reload` from now on, one call at a time, on a thread of this object, or at once where one came before.
  /// `reload` does not throw. Without it SIGHUP does nothing. An empty one ends that, once a call that runs has ended.
  void on_hangup(std::function<void()> reload);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::services
