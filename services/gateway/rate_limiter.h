#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "services/gateway/rate_view.h"
#include "services/gateway/token_bucket.h"
#include "storage/redis/token_buckets.h"

namespace finetuned::gateway {

/// A limit on something: `capacity` in any `window`, more exactly a token bucket of that size.
struct RateLimitRule {
  std::string name;  ///< of the bucket, the same in every gateway: `key:key-...`
  std::int64_t capacity = 0;
  std::chrono::milliseconds window{60'000};
};

/// What a call of take() came to.
struct RateOutcome {
  std::vector<RateView> views;          ///< a rule each
  std::optional<std::size_t> refused;   ///< the rule that let nothing through; of several, the one to wait for longest
  std::chrono::milliseconds retry{0};   ///< how long until it may work
};

/// Rate limits that all gateways share through Redis, and that hold without it. Thread-safe; blocks for a round trip to
/// Redis at most (its limits: redis::TokenBuckets).
///
/// A gateway leases a twentieth of a bucket at a time, spends it without asking, and returns what is left of it with the
/// next lease; a lease is spent within a second. So all gateways together never pass more than the bucket had, and up to
/// a twentieth of it a gateway may lie idle for a second. While Redis is away each gateway keeps a bucket of its own, from
/// what it last knew: N gateways then pass N times the limit at most, never without one.
class RateLimiter {
 public:
  RateLimiter(redis::Address address, const base::Clock& clock) : shared_(std::move(address)), clock_(clock) {}

  /// Takes `amount` (0 looks only, without asking Redis) of every rule's bucket, or of none.
  RateOutcome take(const std::vector<RateLimitRule>& rules, std::int64_t amount);

  /// The same without blocking, by what is leased already. Empty: Redis has to be asked, nothing is taken.
  std::optional<RateOutcome> take_at_once(const std::vector<RateLimitRule>& rules, std::int64_t amount);

  /// Of what was taken of every rule's bucket `more` turned out to be used besides, or less than nothing of it. What was
  /// not used can be spent here at once; what was used besides is paid by the next takes, to the others' knowledge from
  /// the next one here on.
  void settle(const std::vector<RateLimitRule>& rules, std::int64_t more);

  static constexpr std::size_t kMostBuckets = 20'000;

 private:
  using Time = TokenBucket::Time;
  struct Entry {
    TokenBucket pool;         ///< the shared bucket without what is leased here, as last heard; ours while Redis is away
    std::int64_t leased = 0;  ///< taken from it and not spent; below 0: spent and not taken
    Time lease_ends{};
    std::int64_t missed = 0;  ///< Redis had less than this, and need not be asked for it before `empty_until`
    Time empty_until{};
    Time last_used{};
  };
  enum class Local { kSpent, kRefused, kAskRedis };
  enum class Mode { kLeased, kAlone, kContended };

  std::vector<Entry*> entries_of(const std::vector<RateLimitRule>& rules, Time now);
  void make_room(Time now);
  Local spend_leases(const std::vector<Entry*>& entries, std::int64_t amount, Time now);
  void spend_alone(const std::vector<Entry*>& entries, std::int64_t amount, Time now, RateOutcome& outcome);
  Local take_here(const std::vector<RateLimitRule>& rules, std::int64_t amount, Mode mode, RateOutcome& outcome);
  bool lease(const std::vector<RateLimitRule>& rules, std::int64_t amount);
  static void refuse_empty(const std::vector<Entry*>& entries, std::int64_t amount, Time now, RateOutcome& outcome);

  redis::TokenBuckets shared_;
  const base::Clock& clock_;
  std::mutex leasing_;  ///< held while Redis is asked, so that one asks for all who wait
  std::mutex mutex_;    ///< of entries_
  std::unordered_map<std::string, Entry> entries_;
};

}  // namespace finetuned::gateway
