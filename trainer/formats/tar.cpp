#include "trainer/formats/tar.h"

#include <array>
#include <cstring>

#include "base/expects.h"

namespace finetuned::formats {

namespace {

constexpr std::size_t kBlock = 512;
constexpr std::uint64_t kMostOctal = (std::uint64_t{1} << 33) - 1;

using Block = std::array<char, kBlock>;

/// `digits` octal digits; what follows them is zero.
void put_octal(Block& block, std::size_t at, int digits, std::uint64_t value) {
  for (int i = digits - 1; i >= 0; --i, value >>= 3) block[at + static_cast<std::size_t>(i)] = static_cast<char>('0' + (value & 7));
}

void put_size(Block& block, std::uint64_t bytes) {
  constexpr std::size_t kAt = 124, kWidth = 12;
  if (bytes <= kMostOctal) return put_octal(block, kAt, 11, bytes);
  block[kAt] = static_cast<char>(0x80);
  for (std::size_t i = 0; i < 8; ++i) block[kAt + kWidth - 1 - i] = static_cast<char>(bytes >> (8 * i));
}

}  // namespace

void TarWriter::begin(std::string_view name, std::uint64_t bytes) {
  base::expects(left_ == 0, "a file is whole before the next one begins");
  base::expects(!name.empty() && name.size() <= 100 && name.front() != '/', "tar names are short and relative");
  pad();
  Block block{};
  std::memcpy(block.data(), name.data(), name.size());
  put_octal(block, 100, 7, 0644);
  put_octal(block, 108, 7, 0);
  put_octal(block, 116, 7, 0);
  put_size(block, bytes);
  put_octal(block, 136, 11, 0);
  std::memset(block.data() + 148, ' ', 8);
  block[156] = '0';
  std::memcpy(block.data() + 257, "ustar\00000", 8);
  std::uint64_t sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  put_octal(block, 148, 6, sum);
  block[154] = '\0';
  sink_({block.data(), block.size()});
  left_ = file_bytes_ = bytes;
}

void TarWriter::write(std::string_view data) {
  base::expects(data.size() <= left_, "a file has as many bytes as it was said to have");
  sink_(data);
  left_ -= data.size();
}

void TarWriter::pad() {
  const std::string zeros((kBlock - file_bytes_ % kBlock) % kBlock, '\0');
  if (!zeros.empty()) sink_(zeros);
  file_bytes_ = 0;
}

void TarWriter::finish() {
  base::expects(left_ == 0, "the last file is whole");
  pad();
  sink_(std::string(2 * kBlock, '\0'));
}

}  // namespace finetuned::formats
