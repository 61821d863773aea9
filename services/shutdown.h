#pragma once

#include <chrono>
#include <memory>
#include <stop_token>

namespace finetuned::services {

/// Turns SIGTERM and SIGINT into a stop token. Build it in `main` before any other thread starts, so that every thread
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

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::services
