#include "trainer/text/byte_alphabet.h"

#include <array>

#include "trainer/text/utf8.h"

namespace finetuned::text {

namespace {

struct Alphabet {
  std::array<char32_t, 256> printable{};
  std::array<std::int16_t, 0x144> byte{};  // by code point; -1 for none

  Alphabet() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (int i = 0; i < 256; ++i) {
      const bool itself = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
      const char32_t point = itself ? static_cast<char32_t>(i) : next++;
      printable[static_cast<std::size_t>(i)] = point;
      byte[point] = static_cast<std::int16_t>(i);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet table;
  return table;
}

}  // namespace

char32_t byte_to_printable(std::uint8_t byte) {
  return alphabet().printable[byte];
}

std::string to_printable(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes)
    append_utf8(out, byte_to_printable(static_cast<std::uint8_t>(byte)));
  return out;
}

std::optional<std::string> from_printable(std::string_view printable) {
  const auto& table = alphabet().byte;
  std::string out;
  for (std::size_t at = 0; at < printable.size();) {
    const Utf8Character character = read_utf8(printable, at);
    if (character.size == 0 || character.code_point >= table.size() || table[character.code_point] < 0)
      return std::nullopt;
    out += static_cast<char>(table[character.code_point]);
    at += character.size;
  }
  return out;
}

}  // namespace finetuned::text
