#include "base/money.h"

#include <limits>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "base/errors.h"
#include "base/expects.h"

namespace finetuned::base {

namespace {
__extension__ using Int128 = __int128;

/// The magnitude of an amount of 10^-places units, with at least `least` of its decimals.
std::string decimals_of(std::int64_t amount, std::size_t places, std::size_t least) {
  std::string digits = std::to_string(amount < 0 ? 0 - static_cast<std::uint64_t>(amount) : static_cast<std::uint64_t>(amount));
  if (digits.size() <= places) digits.insert(0, places + 1 - digits.size(), '0');
  std::string decimals = digits.substr(digits.size() - places);
  while (decimals.size() > least && decimals.back() == '0') decimals.pop_back();
  return digits.substr(0, digits.size() - places) + (decimals.empty() ? "" : "." + decimals);
}

/// A decimal number as a count of 10^-places units. Empty where it is none, has more decimals, or does not fit.
std::optional<std::int64_t> parse_decimals(std::string_view text, int places) {
  constexpr Int128 kMost = std::numeric_limits<std::int64_t>::max();
  Int128 units = 0;
  int decimals = -1;
  bool digit_seen = false;
  for (const char c : text) {
    if (c == '.' && decimals < 0) {
      decimals = 0;
    } else if (c >= '0' && c <= '9') {
      digit_seen = true;
      units = units * 10 + (c - '0');
      if (decimals >= 0) ++decimals;
      if (decimals > places || units > kMost) return std::nullopt;
    } else {
      return std::nullopt;
    }
  }
  if (!digit_seen) return std::nullopt;
  for (int i = decimals < 0 ? 0 : decimals; i < places; ++i) units *= 10;
  if (units > kMost) return std::nullopt;
  return static_cast<std::int64_t>(units);
}
}  // namespace

NanoDollars price_of(std::int64_t tokens, std::int64_t nano_per_1k) {
  expects(tokens >= 0 && nano_per_1k >= 0, "tokens and prices are not negative");
  const Int128 product = static_cast<Int128>(tokens) * nano_per_1k;
  Int128 whole = product / 1000;
  const int rest = static_cast<int>(product % 1000);
  if (rest > 500 || (rest == 500 && whole % 2 == 1)) ++whole;
  if (whole > std::numeric_limits<std::int64_t>::max()) throw std::overflow_error("a price beyond 9.2 billion dollars");
  return {static_cast<std::int64_t>(whole)};
}

std::string format_dollars(NanoDollars amount) {
  return (amount.value < 0 ? "-$" : "$") + decimals_of(amount.value, 9, 2);
}

NanoDollars parse_dollars(const std::string& text) {
  const auto nano = parse_decimals(!text.empty() && text[0] == '$' ? std::string_view(text).substr(1) : text, 9);
  if (!nano) throw UsageError("'" + text + "' is not an amount: write dollars with at most nine decimals, such as 12.50");
  return {*nano};
}

std::string format_points(std::int64_t micro) {
  return (micro < 0 ? "-" : "") + decimals_of(micro, 6, 0) + (micro == 1'000'000 ? " point" : " points");
}

std::int64_t parse_points(const std::string& text) {
  const auto micro = parse_decimals(text, 6);
  if (!micro) throw UsageError("'" + text + "' is no number of points: write at most six decimals, such as 12.5");
  return *micro;
}

}  // namespace finetuned::base
