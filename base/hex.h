#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace finetuned::base {

/// Two lower-case digits a byte.
std::string hex_encode(std::string_view bytes);
/// nullopt for anything that hex_encode would not have written.
std::optional<std::string> hex_decode(std::string_view text);

}  // namespace finetuned::base
