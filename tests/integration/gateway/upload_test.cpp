#include <chrono>

#include "tests/integration/gateway/running_gateway.h"

namespace finetuned::tests {
namespace {

using std::chrono::milliseconds;

class UploadTest : public GatewayTest {
 protected:
  /// How many objects there are once the gateway has settled.
  bool objects_become(std::size_t expected) {
    for (int i = 0; i < 100; ++i) {
      if (gateway_->stored_objects() == expected) return true;
      std::this_thread::sleep_for(milliseconds(20));
    }
    return false;
  }
  std::size_t before_ = gateway_->stored_objects();
  const std::string purpose_ = field_part("purpose", "fine-tune");
};

TEST_F(UploadTest, AnyCutOfTheBytesIsTheSameFile) {
  const std::string content = "{\"a\":\"--cut\\r\\n\"}\r\n--cu\r\n";
  Call request;
  request.method = "POST";
  request.path = "/v1/files";
  request.key = tenant_.key;
  request.body = multipart({purpose_, file_part("a.jsonl", content)});
  request.content_type = kMultipart;
  const std::string bytes = to_bytes(request);
  Wire wire(gateway_->port());
  for (std::size_t at = 0; at < bytes.size(); at += 37) {
    ASSERT_TRUE(wire.send(bytes.substr(at, 37)));
    if (at % 5 == 0) std::this_thread::sleep_for(milliseconds(1));
  }
  const auto answer = wire.read();
  ASSERT_TRUE(answer);
  ASSERT_EQ(answer->status, 200) << answer->body;
  const auto file = answer->json();
  EXPECT_EQ(get("/v1/files/" + std::string(file.at("id").as_string()) + "/content").body, content);
}

TEST_F(UploadTest, ChunkedBodiesWork) {
  const std::string body = multipart({purpose_, file_part("a.jsonl", "{}\n")});
  std::string bytes = "POST /v1/files HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer " + tenant_.key +
                      "\r\nContent-Type: " + kMultipart + "\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (std::size_t at = 0; at < body.size(); at += 16) {
    const std::string piece = body.substr(at, 16);
    char size[8];
    std::snprintf(size, sizeof size, "%zx", piece.size());
    bytes += std::string(size) + "\r\n" + piece + "\r\n";
  }
  Wire wire(gateway_->port());
  ASSERT_TRUE(wire.send(bytes + "0\r\n\r\n"));
  const auto answer = wire.read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200) << answer->body;
}

TEST_F(UploadTest, ContinueIsSentBeforeTheBody) {
  Call request;
  request.method = "POST";
  request.path = "/v1/files";
  request.key = tenant_.key;
  request.body = multipart({purpose_, file_part("a.jsonl", "{}\n")});
  request.content_type = kMultipart;
  request.headers = {"Expect: 100-continue"};
  const std::string bytes = to_bytes(request);
  const std::size_t head = bytes.find("\r\n\r\n") + 4;
  Wire wire(gateway_->port());
  wire.send(bytes.substr(0, head));
  const auto interim = wire.read();
  ASSERT_TRUE(interim);
  EXPECT_EQ(interim->status, 100);
  wire.send(bytes.substr(head));
  EXPECT_EQ(wire.read().value_or(Answer{}).status, 200);
  request.key = "sk-ft-wrong";
  Wire refused(gateway_->port());
  refused.send(to_bytes(request).substr(0, to_bytes(request).find("\r\n\r\n") + 4));
  EXPECT_EQ(refused.read().value_or(Answer{}).status, 401);  // no 100 first
  EXPECT_TRUE(refused.closes_within(milliseconds(6000)));
}

TEST_F(UploadTest, RefusedFormsLeaveNothing) {
  struct Case {
    std::string body;
    int status;
    std::string param;
  };
  const std::string file = file_part("a.jsonl", "{}\n");
  const std::vector<Case> cases{
      {multipart({file}), 400, "purpose"},
      {multipart({purpose_}), 400, "file"},
      {multipart({file, field_part("purpose", "training")}), 400, "purpose"},
      {multipart({file, field_part("purpose", "fine-tune-results")}), 400, "purpose"},
      {multipart({file, file, purpose_}), 400, "file"},
      {multipart({file_part("a.jsonl", ""), purpose_}), 400, "file"},
      {multipart({field_part("file", "{}"), purpose_}), 400, "file"},
      {multipart({file, purpose_, field_part("expires_after[anchor]", "now")}), 400, "expires_after.anchor"},
      {multipart({file, purpose_, field_part("expires_after[anchor]", "created_at"), field_part("expires_after[seconds]", "1")}),
       400, "expires_after.seconds"},
      {multipart({file, purpose_}) + "more", 400, ""},
      {"--cut\r\n" + file + "\r\n", 400, ""},
      {multipart({file_part("a.jsonl", std::string((1 << 20) + 1, 'x')), purpose_}), 413, "file"},
      {multipart({file_part("a.jsonl", std::string(3 << 20, 'x')), purpose_}), 413, ""},
  };
  for (const Case& one : cases) {
    const Answer answer = post_multipart(one.body);
    EXPECT_EQ(answer.status, one.status) << answer.body;
    EXPECT_EQ(answer.param(), one.param) << answer.body;
  }
  EXPECT_TRUE(objects_become(before_));
}

TEST_F(UploadTest, AFormThatIsRefusedIsAnsweredBeforeItsEnd) {
  Call request;
  request.method = "POST";
  request.path = "/v1/files";
  request.key = tenant_.key;
  request.content_type = kMultipart;
  // Pieces that come while others are worked on: the client waits for an answer behind each.
  const std::string file = "--cut\r\n" + file_part("a.jsonl", std::string(300'000, 'x'));
  request.body = file + "\r\n" + file + "\r\n" + std::string(300'000, 'y');
  const std::string bytes = to_bytes(request);
  for (const std::size_t missing : {std::size_t{300'000}, std::size_t{200'000}, std::size_t{1}}) {
    Wire wire(gateway_->port());
    wire.send(bytes.substr(0, bytes.size() - missing));
    const auto answer = wire.read();
    ASSERT_TRUE(answer) << missing;
    EXPECT_EQ(answer->status, 400) << answer->body;
    EXPECT_EQ(answer->param(), "file") << answer->body;
  }
  EXPECT_TRUE(objects_become(before_));
}

TEST_F(UploadTest, OtherContentTypesAreRefused) {
  const Answer answer = send("POST", "/v1/files", "{}");
  EXPECT_EQ(answer.status, 415);
  EXPECT_EQ(answer.code(), "unsupported_media_type");
}

TEST_F(UploadTest, ExpiryIsShown) {
  const Answer answer =
      post_multipart(multipart({file_part("a.jsonl", "{}\n"), purpose_, field_part("expires_after[anchor]", "created_at"),
                                field_part("expires_after[seconds]", "3600")}));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const auto file = answer.json();
  EXPECT_NEAR(static_cast<double>(file.at("expires_at").as_int64() - file.at("created_at").as_int64()), 3600, 2);
}

TEST_F(UploadTest, ATruncatedUploadLeavesNothing) {
  Call request;
  request.method = "POST";
  request.path = "/v1/files";
  request.key = tenant_.key;
  request.body = multipart({purpose_, file_part("a.jsonl", std::string(300'000, 'x'))});
  request.content_type = kMultipart;
  const std::string bytes = to_bytes(request);
  Wire wire(gateway_->port());
  wire.send(bytes.substr(0, bytes.size() / 2));
  ASSERT_TRUE(objects_become(before_ + 1));  // half-written
  wire.close();
  EXPECT_TRUE(objects_become(before_));
  const auto list = get("/v1/files").json();
  EXPECT_EQ(list.at("data").as_array().size(), 0u);
}

}  // namespace
}  // namespace finetuned::tests
