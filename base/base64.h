#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace finetuned::base {

/// RFC 4648 with padding, without line breaks.
std::string base64_encode(std::string_view bytes);
/// nullopt for anything that base64_encode would not have written.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace finetuned::base
