#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace finetuned::text {

/// GPT-2's way to write any bytes as printable text: the bytes 33-126, 161-172 and 174-255 stand for
/// themselves as code points, the other 68 in ascending order for U+0100, U+0101, ... (so the space is
/// U+0120, `Ġ`).
char32_t byte_to_printable(std::uint8_t byte);
std::string to_printable(std::string_view bytes);
/// The bytes that a printable text stands for; absent where it holds a character outside the alphabet.
std::optional<std::string> from_printable(std::string_view printable);

}  // namespace finetuned::text
