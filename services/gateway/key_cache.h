#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "services/gateway/http.h"

namespace finetuned::gateway {

/// What keys were found to open, by their SHA-256, for less than half a second: a key that is revoked elsewhere opens
/// nothing after that. One that is used goes on from one look-up to the next without a gap: in the second half of an
/// answer's life whoever asks first looks it up again, and the others go by what is known. Secrets that open nothing are
/// remembered apart, so that guesses push no key out. Thread-safe.
class KeyCache {
 public:
  static constexpr std::chrono::milliseconds kLifetime{400};
  static constexpr std::chrono::milliseconds kRenewal{200};  ///< after this an answer is due to be looked up again
  static constexpr std::size_t kMostKeys = 10'000;  ///< of each kind

  explicit KeyCache(const base::Clock& clock) : clock_(clock) {}

  struct Answer {
    bool known = false;                  ///< false: look it up
    bool due = false;                    ///< look it up all the same: nobody does, and it will not be known for long
    std::optional<Principal> principal;  ///< empty: it opens nothing
  };
  Answer find(const std::string& sha256) const;

  /// Begun before a look-up and handed to remember() with what it found: an answer lives from here, and one that was
  /// looked up across a forget_all() is not kept.
  struct LookUp {
    std::uint64_t generation = 0;
    std::chrono::steady_clock::time_point began{};
  };
  LookUp begin(const std::string& sha256);
  void remember(const std::string& sha256, const std::optional<Principal>& principal, const LookUp& look_up);

  /// An administrator changed something through this gateway: it counts from the next request on.
  void forget_all();

 private:
  struct Entry {
    std::optional<Principal> principal;
    std::chrono::steady_clock::time_point ends;
    bool renewing = false;  ///< someone looks it up
  };
  using Entries = std::unordered_map<std::string, Entry>;
  void make_room(Entries& entries) const;

  const base::Clock& clock_;
  mutable std::mutex mutex_;
  std::uint64_t generation_ = 0;
  Entries keys_;
  Entries refused_;
};

}  // namespace finetuned::gateway
