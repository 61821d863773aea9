#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "storage/redis/client.h"

namespace finetuned::redis {

/// What one caller wants of one bucket: `capacity` tokens that come back evenly over `window`, by Redis's clock.
struct BucketAsk {
  std::string key;
  std::int64_t capacity = 0;
  std::chrono::milliseconds window{0};
  std::int64_t need = 0;  ///< less than this is of no use
  std::int64_t want = 0;  ///< as many as there are, up to this; at least `need`
  std::int64_t back = 0;  ///< returned first: taken earlier and not spent
};

struct BucketGrant {
  std::int64_t granted = 0;  ///< 0 where not even `need` was there
  double left = 0;           ///< in the bucket, afterwards
};

/// Token buckets that all gateways share: a hash a bucket in Redis, changed by one Lua call. A key that nobody uses for
/// a window's length goes; one whose capacity changes keeps what was used of it. Thread-safe; one connection, one call at a time.
///
/// Callers must be right without Redis: a call takes at most twice the address's timeout (connecting and asking), and
/// after a failure all calls say "away" at once for a second.
class TokenBuckets {
 public:
  explicit TokenBuckets(Address address);
  ~TokenBuckets();
  TokenBuckets(const TokenBuckets&) = delete;
  TokenBuckets& operator=(const TokenBuckets&) = delete;

  /// A grant an ask, in their order; a bucket that grants nothing does not keep the others from granting. Empty when
  /// Redis is away, too slow or refuses the script: what was asked may have been taken nevertheless.
  std::optional<std::vector<BucketGrant>> take(const std::vector<BucketAsk>& asks);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::redis
