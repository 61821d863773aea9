#include "services/gateway/uri.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"

namespace finetuned::gateway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

std::optional<Target> parse(std::string_view target) {
  std::string fault;
  return parse_target(target, fault);
}

std::string fault_of(std::string_view target) {
  std::string fault;
  EXPECT_FALSE(parse_target(target, fault)) << target;
  return fault;
}

TEST(PercentDecode, DecodesEscapesAndLeavesTheRest) {
  EXPECT_EQ(percent_decode("ft:base:org::id", false), "ft:base:org::id");
  EXPECT_EQ(percent_decode("a%2Fb%2fc", false), "a/b/c");
  EXPECT_EQ(percent_decode("%C3%A9", false), "\xC3\xA9");
  EXPECT_EQ(percent_decode("a+b", false), "a+b");
  EXPECT_EQ(percent_decode("a+b", true), "a b");
}

TEST(PercentDecode, RefusesBrokenEscapesAndControlCharacters) {
  for (const char* bad : {"%", "a%2", "%zz", "%0g", "%00", "%0d%0a", "%7f", "%1b"})
    EXPECT_EQ(percent_decode(bad, false), std::nullopt) << bad;
}

/// They were passed on to PostgreSQL, which refused them, so that the client got a 500.
TEST(ParseTarget, RefusesBytesThatAreNotUtf8) {
  for (const char* bad : {"/v1/models/%ff", "/v1/files?after=%ff", "/v1/files?%c3=1", "/v1/models/%ed%a0%80",
                          "/v1/models/%c0%af", "/v1/models/%f4%90%80%80", "/v1/models/%e2%82"})
    EXPECT_FALSE(parse(bad)) << bad;
  EXPECT_TRUE(parse("/v1/models/%F0%9F%98%80%E2%82%AC%C3%A9%ED%9F%BF"));
}

TEST(ParseTarget, KeepsAnEscapedSlashInsideItsSegment) {
  const auto target = parse("/v1/models/org%2Fname");
  ASSERT_TRUE(target);
  EXPECT_THAT(target->segments, ElementsAre("v1", "models", "org/name"));
  EXPECT_THAT(target->query, ElementsAre());
}

TEST(ParseTarget, ReadsQueriesInOrder) {
  const auto target = parse("/v1/jobs/?limit=2&metadata%5Bteam%5D=a%20b&flag&after=");
  ASSERT_TRUE(target);
  EXPECT_THAT(target->segments, ElementsAre("v1", "jobs"));
  EXPECT_THAT(target->query, ElementsAre(Pair("limit", "2"), Pair("metadata[team]", "a b"), Pair("flag", ""), Pair("after", "")));
  Request request;
  request.query = target->query;
  EXPECT_THAT(request.query_map("metadata"), ElementsAre(Pair("team", "a b")));
  EXPECT_EQ(request.query_value("limit"), "2");
  EXPECT_EQ(request.query_value("order"), std::nullopt);
  request.query.emplace_back("limit", "2");
  request.query.emplace_back("metadata[team]", "c");
  EXPECT_THROW((void)request.query_value("limit"), base::ApiError);
  EXPECT_THROW((void)request.query_map("metadata"), base::ApiError);
}

TEST(ParseTarget, RefusesWhatIsNoPlainPath) {
  for (const char* bad : {"", "v1", "*", "/a//b", "/a/../b", "/a/./b", "/a/%2e%2e/b", "/a%", "/a?b=%", "/a#b", "//"})
    EXPECT_FALSE(parse(bad)) << bad;
  EXPECT_TRUE(parse("/"));
}

/// One message named all that may be wrong, but for control characters and relative segments.
TEST(ParseTarget, SaysWhatIsWrong) {
  for (const char* bad : {"/a%", "/a?b=%zz", "/a/%00", "/a/%ff", "/a?b%0a=1"}) EXPECT_THAT(fault_of(bad), HasSubstr("escape")) << bad;
  for (const char* bad : {"/a//b", "//", "/a/b//", "/a//?b=1"}) EXPECT_THAT(fault_of(bad), HasSubstr("empty path segment")) << bad;
  EXPECT_THAT(fault_of("/a/%2e%2E/b"), HasSubstr("`..`"));
  EXPECT_THAT(fault_of("/a#b"), HasSubstr("fragment"));
  EXPECT_THAT(fault_of("*"), HasSubstr("begin with /"));
}

TEST(ParseTarget, BoundsTheNumberOfParameters) {
  std::string target = "/a?";
  for (int i = 0; i < 64; ++i) target += "x=1&";
  EXPECT_TRUE(parse(target));
  EXPECT_FALSE(parse(target + "x=1"));
}

}  // namespace
}  // namespace finetuned::gateway
