#include "base/money.h"

#include <limits>
#include <stdexcept>

#include "base/errors.h"
#include "base/expects.h"

namespace finetuned::base {

namespace {
__extension__ using Int128 = __int128;
constexpr std::int64_t kNanoPerDollar = 1'000'000'000;
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
  const bool negative = amount.value < 0;
  const std::uint64_t nano =
      negative ? 0 - static_cast<std::uint64_t>(amount.value) : static_cast<std::uint64_t>(amount.value);
  std::string decimals = std::to_string(nano % kNanoPerDollar);
  decimals.insert(0, 9 - decimals.size(), '0');
  while (decimals.size() > 2 && decimals.back() == '0') decimals.pop_back();
  return (negative ? "-$" : "$") + std::to_string(nano / kNanoPerDollar) + "." + decimals;
}

NanoDollars parse_dollars(const std::string& text) {
  const UsageError wrong("'" + text + "' is not an amount: write dollars with at most nine decimals, such as 12.50");
  std::size_t at = !text.empty() && text[0] == '$' ? 1 : 0;
  Int128 nano = 0;
  int decimals = -1;
  bool digit_seen = false;
  for (; at < text.size(); ++at) {
    if (text[at] == '.' && decimals < 0) {
      decimals = 0;
    } else if (text[at] >= '0' && text[at] <= '9') {
      digit_seen = true;
      nano = nano * 10 + (text[at] - '0');
      if (decimals >= 0) ++decimals;
      if (decimals > 9 || nano > std::numeric_limits<std::int64_t>::max()) throw wrong;
    } else {
      throw wrong;
    }
  }
  if (!digit_seen) throw wrong;
  for (int i = decimals < 0 ? 0 : decimals; i < 9; ++i) nano *= 10;
  if (nano > std::numeric_limits<std::int64_t>::max()) throw wrong;
  return {static_cast<std::int64_t>(nano)};
}

}  // namespace finetuned::base
