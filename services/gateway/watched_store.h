#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "services/gateway/object_calls.h"
#include "storage/objects/object_store.h"

namespace finetuned::gateway {

/// The object store as requests see it: each call is watched by ObjectCalls, on whose threads it has to be made. One that was
/// given up throws Unanswered when it returns at last, whatever came of it, and undoes that: a writer is destroyed, an
/// object that was committed is removed.
class WatchedStore final : public objects::ObjectStore {
 public:
  /// Both outlive this and what it gives.
  WatchedStore(objects::ObjectStore& store, ObjectCalls& calls) : store_(store), calls_(calls) {}

  std::unique_ptr<objects::ObjectWriter> create(std::uint64_t limit_bytes) override;
  std::unique_ptr<objects::ObjectWriter> create_again(const std::string& id, std::uint64_t limit_bytes) override;
  std::unique_ptr<objects::ObjectReader> open(const std::string& id) override;
  bool remove(const std::string& id) override;
  void list(const std::function<void(const objects::ObjectInfo&)>& each) override;
  std::size_t remove_leftovers() override;
  /// On any other thread. However many ask, one call is made, and one of them waits for it, for a few seconds at most; meanwhile the
  /// others hear what the last one found. False, at once, where a call has not returned within that, or no thread is left.
  bool writable() noexcept override;

 private:
  enum class Look { kNone, kQueued, kRunning };
  bool look();

  objects::ObjectStore& store_;
  ObjectCalls& calls_;
  std::mutex mutex_;  // of what follows
  std::condition_variable looked_;
  Look look_ = Look::kNone;
  std::chrono::steady_clock::time_point running_since_;
  bool writable_ = true;  // as the last look said
};

}  // namespace finetuned::gateway
