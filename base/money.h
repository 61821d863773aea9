#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace finetuned::base {

/// An amount of money in nano-dollars (1e-9 USD). Travels in JSON as a string: JavaScript's 2^53 is 9 million dollars.
struct NanoDollars {
  std::int64_t value = 0;
  auto operator<=>(const NanoDollars&) const = default;
};

/// round_half_even(tokens * nano_per_1k / 1000) in 128 bits. Both arguments >= 0. Throws std::overflow_error when the
/// amount does not fit int64. Increments are charged as price_of(cum_k) - price_of(cum_{k-1}), so that a sum does not
/// depend on how usage was batched.
NanoDollars price_of(std::int64_t tokens, std::int64_t nano_per_1k);

/// `$0.001234567`: all nine decimals' significant part, at least two decimals. For people; machines get the integer.
std::string format_dollars(NanoDollars amount);

/// Reads `12`, `12.5` or `$12.50` (at most nine decimals). Throws UsageError.
NanoDollars parse_dollars(const std::string& text);

}  // namespace finetuned::base
