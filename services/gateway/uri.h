#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/gateway/http.h"

namespace finetuned::gateway {

/// Decodes `%XX`; nullopt where an escape is cut short or not hexadecimal, or where it yields a control character.
/// `plus_is_space` is for queries (`application/x-www-form-urlencoded`), never for paths.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space);

/// What a request target in origin-form (`/v1/models/a%2Fb?limit=2`) says.
struct Target {
  std::vector<std::string> segments;  ///< split at `/` before decoding, so `%2F` stays inside its segment
  StringPairs query;
};

/// nullopt where the target does not begin with `/`, has a fragment, an empty, `.` or `..` segment, a broken escape, a control
/// character, bytes that are not UTF-8, or more than 64 query parameters; `fault` then says which, as the end of a sentence
/// that begins with "The URL". One trailing `/` is forgiven.
std::optional<Target> parse_target(std::string_view target, std::string& fault);

}  // namespace finetuned::gateway
