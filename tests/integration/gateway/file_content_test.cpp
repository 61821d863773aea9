#include "base/sha256.h"
#include "tests/integration/gateway/running_gateway.h"

namespace finetuned::tests {
namespace {

class FileContentTest : public GatewayTest {
 protected:
  std::string content_ = [] {
    std::string text;
    for (int i = 0; text.size() < 700'000; ++i) text += std::to_string(i * 7919) + "\n";
    return text;
  }();
};

TEST_F(FileContentTest, IsTheBytesThatWereSent) {
  const std::string id = upload(content_, "user_data");
  const Answer answer = get("/v1/files/" + id + "/content");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, content_);
  EXPECT_EQ(answer.header("etag"), "\"" + base::sha256_hex(content_) + "\"");
  EXPECT_EQ(answer.header("content-type"), "application/octet-stream");
  EXPECT_EQ(answer.header("content-disposition"), "attachment; filename=\"train.jsonl\"");
}

/// Letters that are not ASCII came as `_`, and `..` as it was.
TEST_F(FileContentTest, ItsNameIsWhole) {
  const auto disposition = [&](const std::string& name) {
    const Answer file = post_multipart(multipart({field_part("purpose", "user_data"), file_part(name, "a")}));
    return get("/v1/files/" + text(file.json().at("id")) + "/content").header("content-disposition");
  };
  EXPECT_EQ(disposition("caf\xC3\xA9 1.jsonl"), "attachment; filename=\"caf__ 1.jsonl\"; filename*=UTF-8''caf%C3%A9%201.jsonl");
  EXPECT_EQ(disposition(".."), "attachment; filename=\"upload\"");
}

TEST_F(FileContentTest, RangesAreParts) {
  const std::string path = "/v1/files/" + upload(content_, "user_data") + "/content";
  const std::string size = std::to_string(content_.size());
  const Answer part = send("GET", path, "", {"Range: bytes=200000-399999"});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, content_.substr(200'000, 200'000));
  EXPECT_EQ(part.header("content-range"), "bytes 200000-399999/" + size);
  EXPECT_EQ(send("GET", path, "", {"Range: bytes=-5"}).body, content_.substr(content_.size() - 5));
  const Answer beyond = send("GET", path, "", {"Range: bytes=" + size + "-"});
  EXPECT_EQ(beyond.status, 416);
  EXPECT_EQ(beyond.code(), "range_not_satisfiable");
  EXPECT_EQ(beyond.header("content-range"), "bytes */" + size);
}

TEST_F(FileContentTest, ETagsSaveADownload) {
  const std::string path = "/v1/files/" + upload(content_, "user_data") + "/content";
  const std::string etag = "\"" + base::sha256_hex(content_) + "\"";
  Wire wire(gateway_->port());
  Call request;
  request.path = path;
  request.key = tenant_.key;
  request.headers = {"If-None-Match: " + etag};
  wire.send(to_bytes(request));
  const auto same = wire.read();
  ASSERT_TRUE(same);
  EXPECT_EQ(same->status, 304);
  EXPECT_EQ(same->body, "");
  for (const std::string& list : {std::string("*"), "W/" + etag, "\"another\", " + etag + " ,"})
    EXPECT_EQ(send("GET", path, "", {"If-None-Match: " + list}).status, 304) << list;
  for (const std::string& list : {std::string("\"another\""), std::string(","), etag.substr(1), "x" + etag})
    EXPECT_EQ(send("GET", path, "", {"If-None-Match: " + list}).status, 200) << list;
  request.headers = {"Range: bytes=0-3", "If-Range: \"another\""};
  wire.send(to_bytes(request));  // the connection stayed in step
  const auto whole = wire.read();
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->status, 200);
  EXPECT_EQ(whole->body, content_);
}

}  // namespace
}  // namespace finetuned::tests
