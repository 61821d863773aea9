#include "services/cli/api_client.h"

#include <filesystem>
#include <gtest/gtest.h>

#include "base/errors.h"

namespace finetuned::cli {
namespace {

TEST(ApiClient, RefusesWhatIsNoAddressOrKey) {
  EXPECT_THROW(ApiClient("", "sk-ft-x"), base::UsageError);
  EXPECT_THROW(ApiClient("ftp://127.0.0.1", "sk-ft-x"), base::UsageError);
  EXPECT_THROW(ApiClient("http://127.0.0.1:1", ""), base::UsageError);
  EXPECT_THROW(ApiClient("http://127.0.0.1:1", "a\r\nHost: b"), base::UsageError);
  EXPECT_THROW(ApiClient("https://127.0.0.1:1", "sk-ft-x", "no/such/ca.pem"), base::UsageError);
}

TEST(ApiClient, AnIdCannotLeaveItsPlaceInThePath) {
  EXPECT_EQ(ApiClient::escape("ft:demo:acme:x:ab"), "ft:demo:acme:x:ab");
  EXPECT_EQ(ApiClient::escape("../admin?x=1&y"), "..%2Fadmin%3Fx%3D1%26y");
  EXPECT_EQ(ApiClient::escape(".."), "%2E%2E");
}

TEST(ApiClient, SaysThatNobodyAnswered) {
  ApiClient api("http://127.0.0.1:1/v1/", "sk-ft-x");
  EXPECT_THROW(api.get("/files"), ConnectionError);
}

TEST(ApiClient, ABrokenDownloadLeavesNothing) {
  const std::filesystem::path target = std::filesystem::path(testing::TempDir()) / "finetuned_cli_download";
  ApiClient api("http://127.0.0.1:1", "sk-ft-x");
  EXPECT_THROW(api.download("/files/file-1/content", target, {}), ConnectionError);
  EXPECT_FALSE(std::filesystem::exists(target));
  EXPECT_FALSE(std::filesystem::exists(target.string() + ".part"));
}

TEST(ApiClient, AMissingUploadIsTheCommandLinesFault) {
  ApiClient api("http://127.0.0.1:1", "sk-ft-x");
  EXPECT_THROW(api.upload("no/such/file.jsonl", "fine-tune", {}), base::UsageError);
}

}  // namespace
}  // namespace finetuned::cli
