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

/// `1.25 points`, of micro-points (1e-6 point): what decimals are needed, at most six. `1 point`.
std::string format_points(std::int64_t micro);

/// Reads `12` or `12.5` (at most six decimals) as micro-points. Throws UsageError.
std::int64_t parse_points(const std::string& text);

/// Reads `12`, `12.5` or `$12.50` (at most nine decimals). Throws UsageError.
NanoDollars parse_dollars(const std::string& text);

}  // namespace finetuned::base
