#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace finetuned::gateway {

/// Bytes [begin, end).
struct ByteRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct RangeRequest {
  std::optional<ByteRange> range;  ///< empty: send everything
  bool unsatisfiable = false;      ///< answer 416
};

/// Reads a Range header for a body of `size` bytes: `bytes=A-B`, `bytes=A-`, `bytes=-N`, the unit in any case. Several
/// ranges, other units and anything malformed count as no range at all, as RFC 9110 allows.
RangeRequest parse_range(std::string_view header, std::uint64_t size);

}  // namespace finetuned::gateway
