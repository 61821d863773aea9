#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace finetuned::text {

/// One character read from UTF-8. `size` 0 where the bytes there are no valid character.
struct Utf8Character {
  char32_t code_point = 0;
  std::size_t size = 0;
};

/// Reads the character that begins at `at` (< text.size()), strictly by RFC 3629: no surrogates, no overlong
/// forms.
Utf8Character read_utf8(std::string_view text, std::size_t at);
/// Bytes from the start that are valid; text.size() where all are.
std::size_t valid_utf8_prefix(std::string_view text);
/// True where the bytes at the end of `text` from `at` on could still become a character with more bytes.
bool could_become_utf8(std::string_view text, std::size_t at);
/// Each maximal broken piece becomes one U+FFFD, as in the Unicode standard's recommended practice.
std::string to_valid_utf8(std::string_view text);
void append_utf8(std::string& text, char32_t code_point);

}  // namespace finetuned::text
