#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/files.h"
#include "services/inference/wire.h"

namespace finetuned::inference {

/// One request under way, between the thread of its connection and the engine's: what is said to the client goes through
/// here. Shared by the two, since either may be the last one that has it. Any thread.
class Call {
 public:
  /// Lines that wait for a client that reads too slowly; beyond, the call is cancelled.
  static constexpr std::size_t kMostWaitingBytes = 16u << 20;

  explicit Call(InferenceRequest asked);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  InferenceRequest request;
  std::vector<std::vector<std::int32_t>> prompts;  ///< in tokens; set before the engine has the call
  std::vector<std::string> prompt_texts;           ///< for `echo`; empty without it
  const std::chrono::steady_clock::time_point arrived, deadline;

  // The engine's side.
  void send(const AnswerLine& line);  ///< Done and Failure end it; nothing is heard behind that
  bool cancelled() const { return cancelled_; }

  // The connection's side.
  void cancel() { cancelled_ = true; }
  /// The lines since the last time; `ended` where no more come.
  struct Lines {
    std::string text;
    bool ended = false;
  };
  Lines take();
  int wakes() const { return event_.get(); }  ///< readable where take() has something; to poll

 private:
  std::atomic<bool> cancelled_{false};
  base::FileDescriptor event_;
  std::mutex mutex_;  ///< over what follows
  std::string waiting_;
  bool ended_ = false;
};

/// `error` as a line. Retryable ones say when.
Failure failure_of(const base::ApiError& error);

}  // namespace finetuned::inference
