#include <ctime>

#include "base/sealing.h"
#include "base/sha256.h"
#include "services/gateway/download_url.h"
#include "tests/integration/gateway/admin_fixture.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

class DownloadsTest : public AdminTest {
 protected:
  /// Path and query of a fresh URL.
  std::string url_of(const std::string& file, const std::string& body = "") {
    const Answer answer = send("POST", "/v1/files/" + file + "/download_url", body);
    EXPECT_EQ(answer.status, 200) << answer.body;
    const std::string url = text(answer.json().at("url"));
    return url.substr(url.find("/v1/"));
  }
  Answer open(const std::string& path, std::vector<std::string> headers = {}) {
    Call request;
    request.path = path;
    request.headers = std::move(headers);
    return call(gateway_->port(), request);
  }
  /// A path signed as the gateway does it.
  std::string signed_until(const std::string& file, std::int64_t expires_at) {
    const auto key = base::SealingKey::load_or_create(gateway_->data() / "webhooks.key").derive("download URLs");
    return gateway::sign_download(key, {tenant_.project.id, file, expires_at});
  }

  const std::string content_ = "0123456789\n";
};

TEST_F(DownloadsTest, OpenTheContentWithoutAKey) {
  const std::string file = upload(content_, "user_data");
  const Answer made = send("POST", "/v1/files/" + file + "/download_url", R"({"expires_in":900})");
  ASSERT_EQ(made.status, 200) << made.body;
  const auto shape = made.json();
  EXPECT_EQ(shape.at("object"), "file.download_url");
  EXPECT_EQ(text(shape.at("file_id")), file);
  EXPECT_TRUE(text(shape.at("url")).starts_with("http://"));
  const std::int64_t left = shape.at("expires_at").as_int64() - std::time(nullptr);
  EXPECT_GT(left, 880);
  EXPECT_LE(left, 901);
  const std::string path = url_of(file);
  const Answer answer = open(path);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.body, content_);
  EXPECT_EQ(answer.header("etag"), "\"" + base::sha256_hex(content_) + "\"");
  const Answer part = open(path, {"Range: bytes=2-4"});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "234");
}

TEST_F(DownloadsTest, EveryChangedByteIsRefused) {
  const std::string path = url_of(upload(content_, "user_data"));
  const std::size_t query = path.find('?');
  for (std::size_t i = path.rfind('/') + 1; i < path.size(); ++i) {
    if (i == query) continue;
    std::string changed = path;
    changed[i] = changed[i] == '1' ? '2' : '1';
    const Answer answer = open(changed);
    EXPECT_EQ(answer.status, 403) << changed;
    EXPECT_EQ(answer.code(), "invalid_download_url") << changed;
  }
  for (const std::string& cut : {path.substr(0, query), path.substr(0, path.size() - 1), path + "0", path + "&a=b",
                                 path.substr(0, path.find("&signature"))})
    EXPECT_EQ(open(cut).code(), "invalid_download_url") << cut;
}

TEST_F(DownloadsTest, OpenNoOtherFileAndNothingOnceTimeIsOver) {
  const std::string one = upload(content_, "user_data"), other = upload("other\n", "user_data");
  const std::string path = url_of(one);
  EXPECT_EQ(open("/v1/downloads/" + other + path.substr(path.find('?'))).code(), "invalid_download_url");
  const auto now = static_cast<std::int64_t>(std::time(nullptr));
  EXPECT_EQ(open(signed_until(one, now + 60)).status, 200) << "the key is the data directory's, for every gateway";
  const Answer late = open(signed_until(one, now - 1));
  EXPECT_EQ(late.status, 403);
  EXPECT_EQ(late.code(), "download_url_expired");
}

TEST_F(DownloadsTest, EndWithTheFileAndTheProject) {
  const std::string file = upload(content_, "user_data"), other = upload(content_, "user_data");
  const std::string path = url_of(file), second = url_of(other);
  ASSERT_EQ(send("DELETE", "/v1/files/" + file).status, 200);
  EXPECT_EQ(open(path).code(), "file_not_found");
  EXPECT_EQ(send("POST", "/v1/files/" + file + "/download_url").status, 404);
  ASSERT_EQ(open(second).status, 200);
  done("POST", project("/archive"));
  EXPECT_EQ(open(second).code(), "invalid_download_url");
}

TEST_F(DownloadsTest, AreMadeByTheFilesProjectForMinutes) {
  const std::string file = upload(content_, "user_data"), path = "/v1/files/" + file + "/download_url";
  EXPECT_EQ(send_as(make_tenant().key, "POST", path).status, 404);
  EXPECT_EQ(open(path).status, 405) << "there is only POST";
  for (const char* body : {R"({"expires_in":0})", R"({"expires_in":901})", R"({"expires_in":"60"})", R"({"expires_in":1.5})"}) {
    const Answer answer = send("POST", path, body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(answer.param(), "expires_in") << body;
  }
}

}  // namespace
}  // namespace finetuned::tests
