#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/expects.h"
#include "base/hex.h"
#include "base/sha256.h"

namespace finetuned::billing {

/// Writes the fields of a chain's entry one behind the other, integers big-endian; what is not written stays zero.
template <std::size_t kBytes>
class EntryWriter {
 public:
  explicit EntryWriter(std::array<char, kBytes>& into) : into_(into) {}

  void text(std::string_view bytes) {
    std::copy(bytes.begin(), bytes.end(), into_.begin() + static_cast<std::ptrdiff_t>(at_));
    at_ += bytes.size();
  }
  void byte(int value) { into_[at_++] = static_cast<char>(value); }
  void integer(std::int64_t value) {
    for (int shift = 56; shift >= 0; shift -= 8)
      byte(static_cast<int>(static_cast<std::uint64_t>(value) >> shift & 0xff));
  }
  void uuid(const std::optional<std::string>& id) {
    if (!id) return skip(16);
    std::string digits = *id;
    std::erase(digits, '-');
    const auto bytes = base::hex_decode(digits);
    base::expects(bytes && bytes->size() == 16, "a UUID as PostgreSQL writes it");
    text(*bytes);
  }
  void digest(const std::optional<std::string>& of) { of ? text(base::sha256_bytes(*of)) : skip(32); }
  void skip(std::size_t bytes) { at_ += bytes; }
  /// After the last field.
  void expect_whole() const { base::expects(at_ == kBytes, "an entry of as many bytes as its table says"); }

 private:
  std::array<char, kBytes>& into_;
  std::size_t at_ = 0;
};

/// The next hash of a chain: SHA-256 of the one before it, and the entry.
template <std::size_t kBytes>
std::string hash_behind(const std::string& before, const std::array<char, kBytes>& entry) {
  return base::sha256_bytes(before + std::string(entry.data(), entry.size()));
}

}  // namespace finetuned::billing
