#include "services/inference/stop_filter.h"

#include <gtest/gtest.h>

namespace finetuned::inference {
namespace {

/// What comes out of `text` in pieces of `size` characters.
std::string filtered(const std::vector<std::string>& stops, const std::string& text, std::size_t size, bool* stopped = nullptr) {
  StopFilter filter(stops);
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += size) out += filter.push(text.substr(at, size));
  if (stopped) *stopped = filter.stopped();
  return out + filter.finish();
}

TEST(StopFilter, CutsAtTheStopStringThatIsCompleteFirstWhereverPiecesEnd) {
  struct Case {
    std::vector<std::string> stops;
    std::string text, expected;
    bool stopped;
  };
  for (const Case& one : std::vector<Case>{{{}, "all of it", "all of it", false},
                                           {{"END"}, "a END b", "a ", true},
                                           {{"END"}, "a EN b EN", "a EN b EN", false},
                                           {{"aab"}, "aaaab", "aa", true},
                                           {{"abcd", "c"}, "xabcd", "xab", true},
                                           {{"c", "bc"}, "abc", "a", true},
                                           {{"\n\n", "\n"}, "one\n\ntwo", "one", true},
                                           {{"abab"}, "ababab", "", true},
                                           {{"z"}, "", "", false}}) {
    for (const std::size_t size : {1, 2, 3, 100}) {
      bool stopped = false;
      EXPECT_EQ(filtered(one.stops, one.text, size, &stopped), one.expected) << one.text << " by " << size;
      EXPECT_EQ(stopped, one.stopped) << one.text << " by " << size;
    }
  }
}

TEST(StopFilter, HoldsBackNoMoreThanCouldBeginAStopString) {
  StopFilter filter({"<end>", "stop"});
  EXPECT_EQ(filter.push("hello <"), "hello ");
  EXPECT_EQ(filter.push("en"), "");
  EXPECT_EQ(filter.push("try> s"), "<entry> ");
  EXPECT_EQ(filter.push("t"), "");
  EXPECT_EQ(filter.push("st"), "st");
  EXPECT_EQ(filter.push("op here"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, SendsNoPieceOfAStopStringAheadForAnyText) {
  std::uint64_t random = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      text += static_cast<char>('a' + (random >> 60) % 3);
    }
    const std::vector<std::string> stops{"abca", "bb", "cac"};
    std::size_t end = text.size() + 1, begin = text.size();
    for (std::size_t last = 1; last <= text.size() && end > text.size(); ++last)
      for (const std::string& stop : stops)
        if (std::string_view(text).substr(0, last).ends_with(stop)) end = last, begin = std::min(begin, last - stop.size());
    StopFilter filter(stops);
    std::string out;
    for (const char c : text) {
      out += filter.push(std::string(1, c));
      ASSERT_TRUE(text.substr(0, begin).starts_with(out)) << text;
    }
    ASSERT_EQ(out + filter.finish(), text.substr(0, begin)) << text;
  }
}

}  // namespace
}  // namespace finetuned::inference
