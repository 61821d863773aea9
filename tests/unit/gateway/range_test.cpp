#include "services/gateway/range.h"

#include <gtest/gtest.h>

namespace finetuned::gateway {
namespace {

std::string shown(std::string_view header, std::uint64_t size) {
  const auto parsed = parse_range(header, size);
  if (parsed.unsatisfiable) return "416";
  if (!parsed.range) return "all";
  return std::to_string(parsed.range->begin) + ".." + std::to_string(parsed.range->end);
}

TEST(ParseRange, ReadsTheThreeForms) {
  EXPECT_EQ(shown("bytes=0-0", 10), "0..1");
  EXPECT_EQ(shown("bytes=2-5", 10), "2..6");
  EXPECT_EQ(shown("bytes=2-500", 10), "2..10");
  EXPECT_EQ(shown("bytes=9-", 10), "9..10");
  EXPECT_EQ(shown("bytes=-3", 10), "7..10");
  EXPECT_EQ(shown("bytes=-30", 10), "0..10");
}

TEST(ParseRange, TellsWhatLiesBeyondTheEnd) {
  EXPECT_EQ(shown("bytes=10-", 10), "416");
  EXPECT_EQ(shown("bytes=10-12", 10), "416");
  EXPECT_EQ(shown("bytes=-0", 10), "416");
  EXPECT_EQ(shown("bytes=-1", 0), "416");
}

TEST(ParseRange, IgnoresWhatItDoesNotUnderstand) {
  for (const char* header : {"", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "bytes=0-1,4-5", "lines=0-1", "bytes= 0-1",
                             "bytes=--1", "bytes=+1-2", "bytes=99999999999999999999x-"})
    EXPECT_EQ(shown(header, 10), "all") << header;
}

/// They counted as malformed, and all was sent.
TEST(ParseRange, NumbersBeyond64BitsAreBeyondTheEnd) {
  EXPECT_EQ(shown("bytes=99999999999999999999-", 10), "416");
  EXPECT_EQ(shown("bytes=99999999999999999998-99999999999999999999", 10), "416");
  EXPECT_EQ(shown("bytes=4-99999999999999999999", 10), "4..10");
  EXPECT_EQ(shown("bytes=-99999999999999999999", 10), "0..10");
}

TEST(ParseRange, TheUnitIsInAnyCase) { EXPECT_EQ(shown("Bytes=2-5", 10), "2..6"); }

}  // namespace
}  // namespace finetuned::gateway
