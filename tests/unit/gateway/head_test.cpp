#include "services/gateway/head.h"

#include <gtest/gtest.h>

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
}

TEST(ParseHead, AcceptsChunkedAlone) {
  const auto head = parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  ASSERT_TRUE(head);
  EXPECT_TRUE(head->chunked);
}

class BadHead : public testing::TestWithParam<const char*> {};

TEST_P(BadHead, IsRefused) { EXPECT_FALSE(parse(GetParam())) << GetParam(); }

INSTANTIATE_TEST_SUITE_P(
    Framing, BadHead,
    testing::Values(
        "GET / HTTP/1.1\r\n\r\n",                                                              // no Host
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",                                         // two
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",                                         // obs-fold
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",                                                   // blank before the colon
        "GET / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n",                                             // no name
        "GET / HTTP/1.1\nHost: a\r\n\r\n",                                                      // bare LF
        "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",                                              // bare CR
        "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",                                         // control character
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",                                                   // two blanks
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",                                                   // trailing blank
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",                                            // absolute form
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",                                                    // version
        "GET / http/1.1\r\nHost: a\r\n\r\n",                                                    // its case
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",                                                    // method
        "GET /\xC3\xA9 HTTP/1.1\r\nHost: a\r\n\r\n",                                            // raw bytes in the target
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",                                                // empty line before
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",         // repeated
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",                           // list
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",                             // sign
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n",                            // hexadecimal
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",                               // empty
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1234567890123456\r\n\r\n",               // 16 digits
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",  // both
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: something\r\n\r\n"));

TEST(ParseHead, RefusesNulBytes) {
  EXPECT_FALSE(parse(std::string("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 29)));
}

TEST(BareLineEnd, IsSeenBeforeTheHeadIsWhole) {
  EXPECT_TRUE(has_bare_line_end("GET / HTTP/1.1\nHost"));
  EXPECT_TRUE(has_bare_line_end("GET / HTTP/1.1\rHost"));
  EXPECT_FALSE(has_bare_line_end("GET / HTTP/1.1\r\nHost"));
  EXPECT_FALSE(has_bare_line_end("GET / HTTP/1.1\r"));
}

}  // namespace
}  // namespace finetuned::gateway
