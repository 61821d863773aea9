#include <gmock/gmock.h>

#include "tests/http_cases/refused.h"
#include "tests/integration/gateway/running_gateway.h"

namespace finetuned::tests {
namespace {

class SmugglingTest : public GatewayTest {
 protected:
  /// Sends `bytes` and a whole second request in one write. Expects one answer that refuses, and then the end.
  void expect_one_refusal(const RefusedBytes& bad, const std::string& before, const std::string& code) {
    Call second;
    second.path = "/v1/models";
    second.key = tenant_.key;
    Wire wire(gateway_->port());
    wire.send(before + bad.bytes + to_bytes(second));
    wire.end_sending();
    const auto answer = wire.read();
    ASSERT_TRUE(answer) << bad.name;
    EXPECT_EQ(answer->status, bad.status) << bad.name << ": " << answer->body;
    EXPECT_EQ(answer->code(), bad.status == 431 ? "header_too_large" : code) << bad.name;
    EXPECT_EQ(answer->header("connection"), "close") << bad.name;
    EXPECT_EQ(wire.read_to_end(), "") << bad.name;
  }

  std::string chunked_post(const std::string& path, const std::string& content_type) const {
    return "POST " + path + " HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer " + tenant_.key + "\r\nContent-Type: " +
           content_type + "\r\nTransfer-Encoding: chunked\r\n\r\n";
  }
};

TEST_F(SmugglingTest, NothingFollowsAnAmbiguousHead) {
  ASSERT_GE(refused_heads().size(), 60u);
  for (const auto& bad : refused_heads()) expect_one_refusal(bad, "", "invalid_request_head");
}

TEST_F(SmugglingTest, NothingFollowsABrokenChunkedBody) {
  const std::string head = chunked_post("/v1/fine_tuning/jobs", "application/json");
  for (const auto& bad : refused_chunks()) expect_one_refusal(bad, head, "invalid_chunk");
}

/// The body is read by another loop where it is an upload, and has been written to disk by then.
TEST_F(SmugglingTest, ARefusedTrailerEndsAnUpload) {
  const std::string body = multipart({field_part("purpose", "fine-tune"), file_part("a.jsonl", "{}\n")});
  std::string size(16, '\0');
  size.resize(static_cast<std::size_t>(std::snprintf(size.data(), size.size(), "%zx", body.size())));
  const auto stored = gateway_->stored_objects();
  for (const char* name : {"Authorization", "Content-Length", "Transfer-Encoding", "Host", "Trailer"}) {
    const RefusedBytes bad{name, size + "\r\n" + body + "\r\n0\r\n" + name + ": 1\r\n\r\n"};
    expect_one_refusal(bad, chunked_post("/v1/files", kMultipart), "invalid_chunk");
  }
  EXPECT_EQ(gateway_->stored_objects(), stored);
  EXPECT_EQ(get("/v1/files").json().at("data").as_array().size(), 0u);
}

TEST_F(SmugglingTest, OtherTrailersAreDroppedAndTheConnectionServesOn) {
  Call next;
  next.path = "/v1/models";
  next.key = tenant_.key;
  Wire wire(gateway_->port());
  wire.send(chunked_post("/v1/fine_tuning/jobs", "application/json") +
            "2;a=b\r\n{}\r\n0\r\nX-Checksum: 1\r\nServer-Timing: a\r\n\r\n" + to_bytes(next));
  const auto answer = wire.read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 400);
  EXPECT_EQ(answer->code(), "missing_required_parameter") << answer->body;  // the JSON arrived
  EXPECT_EQ(wire.read().value_or(Answer{}).status, 200);
}

}  // namespace
}  // namespace finetuned::tests
