#include "services/gateway/rate_view.h"

namespace finetuned::gateway {

namespace {

/// Thousandths as seconds without trailing zeros: 6500 is `6.5`.
std::string as_seconds(std::int64_t thousandths) {
  std::string text = std::to_string(thousandths / 1000);
  const std::int64_t rest = thousandths % 1000;
  if (rest == 0) return text;
  std::string digits = std::to_string(1000 + rest).substr(1);
  while (digits.back() == '0') digits.pop_back();
  return text + "." + digits;
}

}  // namespace

void narrow(std::optional<RateView>& view, const RateView& other) {
  if (!view || other.remaining < view->remaining) view = other;
}

std::string rate_duration(std::chrono::milliseconds time) {
  const std::int64_t all = time.count();
  if (all > 0 && all < 1000) return std::to_string(all) + "ms";
  const std::int64_t hours = all / 3'600'000, minutes = all / 60'000 % 60;
  std::string text;
  if (hours > 0) text += std::to_string(hours) + "h";
  if (hours > 0 || minutes > 0) text += std::to_string(minutes) + "m";
  return text + as_seconds(all % 60'000) + "s";
}

}  // namespace finetuned::gateway
