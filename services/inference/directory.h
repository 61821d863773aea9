#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/redis/client.h"

namespace finetuned::inference {

/// What an inference service says of itself.
struct Advertisement {
  std::string name;                   ///< the process's; 1 to 128 bytes
  std::string socket;                 ///< where it listens
  std::vector<std::string> bases;     ///< names of the bases in its memory, at most kMostBases
  std::vector<std::string> adapters;  ///< SHA-256 of the weights of those in its memory, at most kMostAdapters
  std::int64_t free_places = 0;       ///< sequences that could begin at once
  std::int64_t queue_length = 0;      ///< requests that wait

  static constexpr std::size_t kMostBases = 32;
  static constexpr std::size_t kMostAdapters = 32;
};

struct DirectoryTimes {
  std::chrono::milliseconds lifetime{10'000};    ///< of an advertisement that is not renewed, by Redis's clock
  std::chrono::milliseconds remembered{60'000};  ///< how long find() answers from memory while Redis is away
};

/// Which inference services live, in Redis: a set of their names, and a text a service that Redis itself lets expire.
/// Never throws for Redis's sake. Thread-safe.
class Directory {
 public:
  static constexpr std::chrono::milliseconds kRenewal{3'000};  ///< how often a service advertises
  static constexpr std::size_t kMostServices = 256;

  /// `client` outlives this.
  explicit Directory(redis::Client& client, DirectoryTimes times = {});

  /// False where Redis did not take it.
  bool advertise(const Advertisement& service);
  /// Takes `name` out at once, as far as Redis can be reached.
  void withdraw(const std::string& name);

  /// The live services, best first: those that hold `base` in memory, then more free places, then a shorter queue,
  /// then by name. While Redis is away: those last known, until they are older than `remembered`.
  std::vector<Advertisement> find(std::string_view base);

 private:
  std::optional<std::vector<Advertisement>> read_all();

  redis::Client& client_;
  const DirectoryTimes times_;
  std::mutex mutex_;  ///< over what follows
  std::vector<Advertisement> known_;
  std::optional<std::chrono::steady_clock::time_point> known_at_;
};

}  // namespace finetuned::inference
