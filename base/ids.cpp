#include "base/ids.h"

#include <openssl/rand.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <stdexcept>

namespace finetuned::base {

namespace {

constexpr std::string_view kBase62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

std::string random_base62(std::size_t length) {
  std::string text;
  while (text.size() < length) {
    for (const unsigned char byte : random_bytes(length + length / 4)) {  // enough at once, nearly always
      if (byte >= 248 || text.size() == length) continue;  // 248 = 4 x 62: larger bytes would favour low digits
      text += kBase62[byte % 62];
    }
  }
  return text;
}

bool is_letter_or_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1)
    throw std::runtime_error("the system's random generator failed");
  return bytes;
}

std::string make_id(std::string_view prefix) { return std::string(prefix) + "-" + random_base62(24); }

std::string make_secret(std::string_view prefix) { return std::string(prefix) + random_base62(43); }

std::string make_uuid() {
  std::string b = random_bytes(16);
  const auto millis = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count());
  for (int i = 0; i < 6; ++i) b[i] = static_cast<char>(millis >> (40 - 8 * i));
  b[6] = static_cast<char>(0x70 | (b[6] & 0x0f));
  b[8] = static_cast<char>(0x80 | (b[8] & 0x3f));
  std::string text;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned>(static_cast<unsigned char>(b[i])));
    text += hex;
  }
  return text;
}

bool is_id(std::string_view id, std::string_view prefix) {
  if (id.size() < prefix.size() + 2 || id.size() > prefix.size() + 65) return false;
  if (id.substr(0, prefix.size()) != prefix || id[prefix.size()] != '-') return false;
  for (const char c : id.substr(prefix.size() + 1))
    if (!is_letter_or_digit(c)) return false;
  return true;
}

}  // namespace finetuned::base
