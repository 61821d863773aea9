#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "services/inference/group.h"
#include "services/inference/model_shelf.h"

namespace finetuned::inference {

struct EngineOptions {
  std::size_t queue = 64;      ///< calls that wait
  std::size_t sequences = 16;  ///< that are continued together, for free_places()
  /// While another model's call has waited longer than this, no more calls join the model that runs.
  std::chrono::milliseconds patience{2'000};
  std::int64_t most_new_tokens = kMostNewTokens;  ///< of a choice
  std::string build;                    ///< what computes, for the fingerprints
};

/// Answers calls: those for one model (a base, and an adapter or none) together, the oldest one's model first, while others
/// of that model join. run() is for one thread; all else for any.
class Engine {
 public:
  /// `shelf` outlives this, and is run()'s thread's.
  Engine(ModelShelf& shelf, EngineOptions options);

  /// `call` has its prompts. Throws ApiError: 429 `engine_overloaded` where the queue is full, 503 where it drains or broke.
  void submit(std::shared_ptr<Call> call, std::shared_ptr<const KnownBase> base);
  /// Until drain() and its end, or until the device broke.
  void run();
  /// Takes no more calls, refuses those that wait (503), and ends those that run by `deadline` at the latest.
  void drain(std::chrono::steady_clock::time_point deadline);

  bool takes_calls();
  std::int64_t free_places() const;
  std::int64_t queue_length();

 private:
  struct Waiting {
    std::shared_ptr<Call> call;
    std::shared_ptr<const KnownBase> base;
    std::string model;  ///< names base and adapter
  };

  std::optional<Waiting> wait_for_first();
  std::optional<Waiting> next_of(const std::string& model);
  void serve(const Waiting& first);
  void continue_group(Group& group, const Waiting& first);
  void admit(Group& group, Waiting next);
  bool time_is_up();
  void drop_unwanted();
  void refuse_waiting(const base::ApiError& error);

  ModelShelf& shelf_;
  const EngineOptions options_;
  std::atomic<std::int64_t> running_{0};  ///< sequences
  std::mutex mutex_;                      ///< over what follows
  std::condition_variable changed_;
  std::deque<Waiting> waiting_;
  std::optional<std::chrono::steady_clock::time_point> drain_until_;
  bool broken_ = false;
};

}  // namespace finetuned::inference
