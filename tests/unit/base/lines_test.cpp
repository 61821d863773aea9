#include "base/lines.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>
#include <stdexcept>
#include <streambuf>
#include <string>
#include <vector>

namespace finetuned::base {
namespace {

using testing::ElementsAre;

std::vector<std::string> lines_of(const std::string& text, std::size_t most) {
  std::istringstream in(text);
  LineReader lines(in, most);
  std::vector<std::string> all;
  for (std::string line; lines.next(line);)
    all.push_back(lines.too_long() ? "too long" : line);
  EXPECT_EQ(lines.number(), static_cast<std::int64_t>(all.size()));
  return all;
}

TEST(LineReader, EndsLinesAtLineFeedsWithOrWithoutCarriageReturn) {
  EXPECT_THAT(lines_of("", 9), ElementsAre());
  EXPECT_THAT(lines_of("\n", 9), ElementsAre(""));
  EXPECT_THAT(lines_of("one\r\n\ntwo\nthree", 9), ElementsAre("one", "", "two", "three"));
}

TEST(LineReader, PassesOverWhatIsTooLong) {
  EXPECT_THAT(lines_of("abc\nabcd\nabc\n", 3), ElementsAre("abc", "too long", "abc"));
  const std::string long_line(1 << 18, 'x');  // several pieces
  EXPECT_THAT(lines_of(long_line + "\nend", 5), ElementsAre("too long", "end"));
  EXPECT_THAT(lines_of("a\n" + long_line, 1 << 17), ElementsAre("a", "too long"));
  EXPECT_THAT(lines_of(long_line + "\nend", 1 << 18), ElementsAre(long_line, "end"));
}

TEST(LineReader, ABoundIsKeptWhileALineGrowsWithoutEnd) {
  std::ifstream endless("/dev/zero", std::ios::binary);
  LineReader lines(endless, 1000);
  std::string line;
  ASSERT_TRUE(lines.next(line));
  EXPECT_TRUE(lines.too_long());
}

/// Gives some lines, then fails as a disk does.
class FailingBuffer : public std::streambuf {
 protected:
  int_type underflow() override {
    if (given_) throw std::runtime_error("an I/O error");
    given_ = true;
    setg(text_, text_, text_ + 6);
    return text_[0];
  }

 private:
  bool given_ = false;
  char text_[7] = "a\nb\nc\n";
};

TEST(LineReader, AFailureIsNotTheEnd) {
  FailingBuffer buffer;
  std::istream in(&buffer);
  LineReader lines(in, 100);
  std::string line;
  while (lines.next(line)) continue;
  EXPECT_TRUE(in.bad());
}

}  // namespace
}  // namespace finetuned::base
