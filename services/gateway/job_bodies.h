#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace finetuned::gateway {

/// Jobs as they were answered last, to be answered so again while their rows are what they were. Bounded: when it is full it
/// begins anew. Thread-safe.
class JobBodies {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::size_t kMostBytes = 16 << 20;

  struct Body {
    std::string version;                      ///< of the row (storage/job_store.h)
    Time until;                               ///< what it says beside the row holds so long
    std::shared_ptr<const std::string> text;  ///< JSON
  };

  void keep(const std::string& id, Body body);
  /// Null where none is known of this version at this time.
  std::shared_ptr<const std::string> find(const std::string& id, const std::string& version, Time now) const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Body> bodies_;
  std::size_t bytes_ = 0;
};

}  // namespace finetuned::gateway
