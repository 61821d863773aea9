#include "trainer/text/utf8.h"

#include <algorithm>
#include <cstring>

namespace finetuned::text {

namespace {

struct Lead {
  std::size_t size = 0;             // of the whole character; 0 for a byte that begins none
  unsigned char second_low = 0x80;  // bounds of the second byte: they rule out overlong forms and surrogates
  unsigned char second_high = 0xBF;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {};
}

// How many bytes from `at` on belong to one character, valid or broken off; `whole` tells which.
std::size_t extent(std::string_view text, std::size_t at, bool& whole) {
  const Lead lead = lead_of(static_cast<unsigned char>(text[at]));
  whole = false;
  if (lead.size == 0) return 0;
  std::size_t have = 1;
  for (; have < lead.size && at + have < text.size(); ++have) {
    const auto byte = static_cast<unsigned char>(text[at + have]);
    const unsigned char low = have == 1 ? lead.second_low : 0x80;
    const unsigned char high = have == 1 ? lead.second_high : 0xBF;
    if (byte < low || byte > high) return have;
  }
  whole = have == lead.size;
  return have;
}

}  // namespace

Utf8Character read_utf8(std::string_view text, std::size_t at) {
  bool whole = false;
  const std::size_t size = extent(text, at, whole);
  if (!whole) return {};
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[at + i]));
  };
  switch (size) {
    case 1:
      return {byte(0), 1};
    case 2:
      return {(byte(0) & 0x1F) << 6 | (byte(1) & 0x3F), 2};
    case 3:
      return {(byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
    default:
      return {(byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
  }
}

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t eight = 0;
    if (at + 8 <= text.size()) {
      std::memcpy(&eight, text.data() + at, 8);
      if ((eight & 0x8080808080808080u) == 0) {
        at += 8;
        continue;
      }
    }
    bool whole = false;
    const std::size_t size = extent(text, at, whole);
    if (!whole) return at;
    at += size;
  }
  return at;
}

bool could_become_utf8(std::string_view text, std::size_t at) {
  if (at >= text.size()) return true;
  bool whole = false;
  const std::size_t size = extent(text, at, whole);
  return !whole && size > 0 && at + size == text.size();
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t valid = valid_utf8_prefix(text.substr(at));
    out.append(text.substr(at, valid));
    at += valid;
    if (at == text.size()) break;
    bool whole = false;
    at += std::max<std::size_t>(1, extent(text, at, whole));
    out += "\xEF\xBF\xBD";
  }
  return out;
}

void append_utf8(std::string& text, char32_t code_point) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

}  // namespace finetuned::text
