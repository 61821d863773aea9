#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace finetuned::gateway {

/// How a rate limit's bucket stands, as far as this gateway knows.
struct RateView {
  std::int64_t limit = 0;
  std::int64_t remaining = 0;
  std::chrono::milliseconds reset{0};  ///< until it is full again
};

/// What an answer says of limits, in `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`.
struct RateViews {
  std::optional<RateView> requests;
  std::optional<RateView> tokens;
  bool refused = false;  ///< a limit refused the request
};

/// Keeps the tighter of two: the one with less remaining.
void narrow(std::optional<RateView>& view, const RateView& other);

/// `850ms`, `6.5s`, `1m30s`, `23h59m0s`: as OpenAI's headers and messages have it.
std::string rate_duration(std::chrono::milliseconds time);

}  // namespace finetuned::gateway
