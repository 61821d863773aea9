#include "services/gateway/token_bucket.h"

#include <algorithm>
#include <cmath>

#include "base/expects.h"

namespace finetuned::gateway {

namespace {

constexpr double kRoundingError = 1e-6;  // a token that came back in a thousand parts is still a whole one

}  // namespace

TokenBucket::TokenBucket(std::int64_t capacity, std::chrono::milliseconds window, Time now)
    : capacity_(capacity), window_(window), tokens_(static_cast<double>(capacity)), at_(now) {
  base::expects(capacity >= 0 && window.count() > 0, "a bucket has a size and a window");
}

double TokenBucket::tokens(Time now) const {
  const std::chrono::duration<double, std::milli> passed = std::max(now, at_) - at_;
  const double back = passed.count() * static_cast<double>(capacity_) / static_cast<double>(window_.count());
  return std::min(static_cast<double>(capacity_), tokens_ + back);
}

bool TokenBucket::has(std::int64_t wanted, Time now) const {
  return tokens(now) + kRoundingError >= static_cast<double>(wanted);
}

void TokenBucket::take(std::int64_t taken, Time now) { set(tokens(now) - static_cast<double>(taken), now); }

void TokenBucket::put_back(std::int64_t returned, Time now) { set(tokens(now) + static_cast<double>(returned), now); }

void TokenBucket::set(double left, Time now) {
  tokens_ = std::clamp(left, 0.0, static_cast<double>(capacity_));
  at_ = std::max(now, at_);
}

std::chrono::milliseconds TokenBucket::wait_for(double wanted, Time now) const {
  const double missing = wanted - tokens(now) - kRoundingError;
  if (missing <= 0) return std::chrono::milliseconds{0};
  if (capacity_ == 0) return window_;
  const double wait = missing * static_cast<double>(window_.count()) / static_cast<double>(capacity_);
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::ceil(std::min(wait, 1e15))));
}

}  // namespace finetuned::gateway
