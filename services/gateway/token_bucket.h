#pragma once

#include <chrono>
#include <cstdint>

namespace finetuned::gateway {

/// What is left of `capacity` tokens that come back evenly over `window`. Starts full. Times are those of one
/// monotonic clock; an earlier one than was seen before counts as that.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  TokenBucket(std::int64_t capacity, std::chrono::milliseconds window, Time now);

  double tokens(Time now) const;
  bool has(std::int64_t tokens, Time now) const;
  /// Takes what `has` said is there.
  void take(std::int64_t tokens, Time now);
  void put_back(std::int64_t tokens, Time now);
  /// Someone who knows better says what is left.
  void set(double tokens, Time now);
  /// How long until so many are there, rounded up to the millisecond; all of a window and more when they never will be.
  std::chrono::milliseconds wait_for(double tokens, Time now) const;

  std::int64_t capacity() const { return capacity_; }
  std::chrono::milliseconds window() const { return window_; }

 private:
  std::int64_t capacity_;
  std::chrono::milliseconds window_;
  double tokens_;
  Time at_;
};

}  // namespace finetuned::gateway
