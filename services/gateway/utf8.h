#pragma once

#include <string_view>

namespace finetuned::gateway {

/// Whether the bytes are UTF-8 by RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF. What is not can
/// neither be stored (PostgreSQL refuses it) nor be quoted in an answer (JSON is UTF-8).
bool is_utf8(std::string_view text);

}  // namespace finetuned::gateway
