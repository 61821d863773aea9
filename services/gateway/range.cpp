#include "services/gateway/range.h"

#include <algorithm>
#include <charconv>

namespace finetuned::gateway {

namespace {

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

RangeRequest parse_range(std::string_view header, std::uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  if (!header.starts_with(kUnit)) return {};
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
