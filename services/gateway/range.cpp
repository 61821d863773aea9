#include "services/gateway/range.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace finetuned::gateway {

namespace {

/// Digits alone; what is beyond 64 bits is beyond every file.
std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error == std::errc::invalid_argument || end != text.data() + text.size()) return std::nullopt;
  return error == std::errc() ? value : std::numeric_limits<std::uint64_t>::max();
}

bool is_unit(std::string_view text, std::string_view unit) {
  const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; };
  return text.size() == unit.size() && std::equal(text.begin(), text.end(), unit.begin(), same);
}

}  // namespace

RangeRequest parse_range(std::string_view header, std::uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  if (!is_unit(header.substr(0, kUnit.size()), kUnit)) return {};
  const auto spec = header.substr(kUnit.size());
  const auto dash = spec.find('-');
  if (dash == std::string_view::npos) return {};
  const auto first = number(spec.substr(0, dash));
  const auto last = number(spec.substr(dash + 1));
  if (!first) {
    if (dash != 0 || !last) return {};
    if (*last == 0 || size == 0) return {std::nullopt, true};
    return {ByteRange{size - std::min(*last, size), size}, false};
  }
  const bool open_ended = dash + 1 == spec.size();
  if (!open_ended && (!last || *last < *first)) return {};
  if (*first >= size) return {std::nullopt, true};
  return {ByteRange{*first, open_ended ? size : std::min(size - 1, *last) + 1}, false};
}

}  // namespace finetuned::gateway
