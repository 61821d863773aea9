#include "services/gateway/head.h"

#include <gtest/gtest.h>

#include "tests/http_cases/refused.h"

namespace finetuned::gateway {
namespace {

std::optional<Head> parse(const std::string& text) {
  HeadFault fault;
  return parse_head(text, fault);
}

TEST(ParseHead, ReadsAnOrdinaryRequest) {
  const auto head = parse("POST /v1/files?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nX-Thing:  two words \t\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->method, "POST");
  EXPECT_EQ(head->target, "/v1/files?x=1");
  EXPECT_EQ(head->content_length, 12u);
  EXPECT_TRUE(head->has_body());
  EXPECT_TRUE(head->expects_continue);
  EXPECT_TRUE(head->keep_alive);
  Request request;
  request.headers = head->headers;
  EXPECT_EQ(request.header("x-thing"), "two words");
}

TEST(ParseHead, FollowsTheConnectionOption) {
  EXPECT_FALSE(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")->keep_alive);
  EXPECT_FALSE(parse("GET / HTTP/1.0\r\nHost: a\r\n\r\n")->keep_alive);
  EXPECT_TRUE(parse("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n")->keep_alive);
  EXPECT_TRUE(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, TE\r\n\r\n")->keep_alive);
}

/// A list was taken for one option that nobody knows.
TEST(ParseHead, FindsCloseAmongOtherOptions) {
  for (const char* line : {"Connection: te, close", "Connection: CLOSE , upgrade", "Connection: te\r\nConnection: ,close,"})
    EXPECT_FALSE(parse(std::string("GET / HTTP/1.1\r\nHost: a\r\n") + line + "\r\n\r\n")->keep_alive) << line;
}

TEST(ParseHead, AnOlderClientIsNotToldToContinue) {
  EXPECT_FALSE(parse("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")->expects_continue);
}

TEST(ParseHead, AcceptsChunkedAlone) {
  const auto head = parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  ASSERT_TRUE(head);
  EXPECT_TRUE(head->chunked);
}

TEST(ParseHead, RefusesWhatTwoReadersMayReadDifferently) {
  for (const auto& bad : tests::refused_heads()) {
    const auto end = bad.bytes.find("\r\n\r\n");
    HeadFault fault;
    const bool whole = end != std::string::npos && end + 4 <= 8192;  // a longer one is refused unread
    if (!whole) continue;
    EXPECT_FALSE(parse_head(bad.bytes.substr(0, end + 4), fault)) << bad.name;
    EXPECT_NE(fault.message, "") << bad.name;
  }
}

TEST(ParseHead, AcceptsWhatClientsSend) {
  for (const char* line : {"Host: api.example.org:8443", "Host: [::1]:80", "Host: under_score.local"})
    EXPECT_TRUE(parse(std::string("GET /v1/jobs?metadata[a]=b%20c&x=(1)&after='' HTTP/1.1\r\n") + line + "\r\n\r\n")) << line;
  for (const char* line : {"X_Y: 1", "X: \xC3\xA9", "Content-Length: 000000000000005", "Expect: 100-Continue", "Accept: a\tb"})
    EXPECT_TRUE(parse(std::string("POST / HTTP/1.1\r\nHost: a\r\n") + line + "\r\n\r\n")) << line;
}

TEST(BareLineEnd, IsSeenBeforeTheHeadIsWhole) {
  EXPECT_TRUE(has_bare_line_end("GET / HTTP/1.1\nHost"));
  EXPECT_TRUE(has_bare_line_end("GET / HTTP/1.1\rHost"));
  EXPECT_FALSE(has_bare_line_end("GET / HTTP/1.1\r\nHost"));
  EXPECT_FALSE(has_bare_line_end("GET / HTTP/1.1\r"));
}

}  // namespace
}  // namespace finetuned::gateway
