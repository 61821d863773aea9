#pragma once

#include <algorithm>
#include <cstdint>

namespace finetuned::webhooks {

inline constexpr double kFirstRetrySeconds = 5, kLongestRetrySeconds = 3600;

/// Seconds until the next try, after `attempts` (>= 1) have failed: 5 s, doubled each time, an hour at most; `uniform`
/// (0 to 1, random) spreads it from half of that to all of it.
inline double retry_seconds(std::int64_t attempts, double uniform) {
  double seconds = kFirstRetrySeconds;
  for (std::int64_t i = 1; i < attempts && seconds < kLongestRetrySeconds; ++i) seconds *= 2;
  return std::min(seconds, kLongestRetrySeconds) * (0.5 + uniform / 2);
}

}  // namespace finetuned::webhooks
