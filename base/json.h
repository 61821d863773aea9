#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace finetuned::base {

namespace json = boost::json;

/// Why a text is not acceptable JSON, and where (byte offset from its start).
struct JsonError : std::runtime_error {
  std::size_t offset;
  JsonError(const std::string& message, std::size_t at) : std::runtime_error(message), offset(at) {}
};

struct JsonLimits {
  std::size_t depth = 32;
  std::size_t bytes = 1 << 20;
  bool nul = false;  ///< whether text may hold `\u0000`
};

/// Parses one JSON value, strictly: beyond RFC 8259 it refuses duplicate keys, integers beyond int64, infinities and
/// (unless the limits allow it) `\u0000`, all of which Boost.JSON lets through. Throws JsonError.
json::value parse_json(std::string_view text, const JsonLimits& limits = {});

}  // namespace finetuned::base
