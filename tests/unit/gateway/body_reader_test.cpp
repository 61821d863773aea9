#include "services/gateway/body_reader.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/errors.h"
#include "tests/http_cases/refused.h"

namespace finetuned::gateway {
namespace {

Head chunked_head() {
  Head head;
  head.chunked = true;
  return head;
}

/// The data of the body that `wire` begins with, read `piece` bytes at a time into a buffer of `room` bytes. Appends
/// what follows the body to `rest`.
std::string read_all(const Head& head, std::string_view wire, std::size_t piece, std::size_t room,
                     std::string* rest = nullptr) {
  BodyReader reader(head);
  std::string data, out(room, '\0');
  for (std::size_t at = 0; at < wire.size() && !reader.done();) {
    const auto progress = reader.read(wire.substr(at, piece), out.data(), room);
    data.append(out, 0, progress.written);
    at += progress.used;
    if (reader.done() && rest) *rest = wire.substr(at);
  }
  EXPECT_TRUE(reader.done());
  return data;
}

TEST(BodyReader, ReadsChunksHoweverTheyAreCut) {
  const std::string wire = "5;a=\"b c\"\r\nhello\r\n00A\r\n, \r\n world\r\n000;x\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\nGET / HTTP";
  for (std::size_t piece = 1; piece <= wire.size(); ++piece) {
    for (const std::size_t room : {1u, 3u, 100u}) {
      std::string rest;
      EXPECT_EQ(read_all(chunked_head(), wire, piece, room, &rest), "hello, \r\n world");
      EXPECT_EQ(rest, "GET / HTTP");
    }
  }
}

TEST(BodyReader, ReadsACountedBodyAndNoMore) {
  Head head;
  head.content_length = 5;
  std::string rest;
  EXPECT_EQ(read_all(head, "0\r\n\r\nGET", 2, 3, &rest), "0\r\n\r\n");
  EXPECT_EQ(rest, "GET");
}

TEST(BodyReader, HearsOfBytesThatWentPastIt) {
  Head counted;
  counted.content_length = 8;
  const std::pair<Head, std::string> bodies[] = {{counted, "01234567"}, {chunked_head(), "3\r\n012\r\n5\r\n34567\r\n0\r\n\r\n"}};
  for (const auto& [head, wire] : bodies) {
    BodyReader reader(head);
    std::string data;
    for (std::size_t at = 0; !reader.done();) {
      const auto plain = static_cast<std::size_t>(std::min<std::uint64_t>(reader.plain_bytes(), 2));
      if (plain > 0) {
        data += wire.substr(at, plain);
        reader.took(plain);
        at += plain;
      } else {
        char none[1];
        at += reader.read(std::string_view(wire).substr(at, 1), none, 0).used;
      }
    }
    EXPECT_EQ(data, "01234567");
    EXPECT_EQ(reader.plain_bytes(), 0u);
  }
}

TEST(BodyReader, HasNothingToReadWithoutABody) {
  EXPECT_TRUE(BodyReader(Head()).done());
  Head head;
  head.content_length = 0;
  EXPECT_TRUE(BodyReader(head).done());
}

TEST(BodyReader, RefusesBrokenChunksHoweverTheyAreCut) {
  for (const auto& bad : tests::refused_chunks()) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{2}, std::size_t{7}, bad.bytes.size()}) {
      try {
        read_all(chunked_head(), bad.bytes, piece, 16);
        ADD_FAILURE() << bad.name << " was accepted in pieces of " << piece;
      } catch (const base::ApiError& error) {
        EXPECT_EQ(error.status, 400) << bad.name;
        EXPECT_EQ(error.code, "invalid_chunk") << bad.name;
      }
    }
  }
}

TEST(BodyReader, IsNotDoneAfterAFault) {
  BodyReader reader(chunked_head());
  char out[8];
  EXPECT_THROW(reader.read("0\r\nHost: b\r\n\r\n", out, sizeof out), base::ApiError);
  EXPECT_FALSE(reader.done());
}

TEST(RefusedTrailers, AreThoseThatFrameRouteAuthenticateOrDescribe) {
  for (const char* name : {"authorization", "host", "content-length", "content_length", "transfer-encoding",
                           "trailer", "te", "content-type", "if-none-match", "openai-organization", "x-forwarded-host"})
    EXPECT_TRUE(is_refused_trailer(name)) << name;
  for (const char* name : {"x-checksum", "server-timing", "digest", "etag"})
    EXPECT_FALSE(is_refused_trailer(name)) << name;
}

}  // namespace
}  // namespace finetuned::gateway
