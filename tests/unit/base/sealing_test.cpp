#include "base/sealing.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <thread>
#include <vector>

#include "base/base64.h"
#include "base/errors.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/settings.h"

namespace finetuned::base {
namespace {

namespace fs = std::filesystem;

class Sealing : public testing::Test {
 protected:
  Sealing() { fs::create_directories(directory_); }
  ~Sealing() override { fs::remove_all(directory_); }
  fs::path directory_ = fs::temp_directory_path() / make_id("sealing");
  fs::path file_ = directory_ / "webhooks.key";
};

TEST(Base64, WritesAndReadsWhatItWrote) {
  EXPECT_EQ(base64_encode(""), "");
  EXPECT_EQ(base64_encode("f"), "Zg==");
  EXPECT_EQ(base64_encode("fo"), "Zm8=");
  EXPECT_EQ(base64_encode("foobar"), "Zm9vYmFy");
  for (std::size_t size = 0; size < 40; ++size) {
    const std::string bytes = random_bytes(size);
    EXPECT_EQ(base64_decode(base64_encode(bytes)), bytes);
  }
  for (const char* wrong : {"Z", "Zg", "Zg=", "Zh==", "Zg==\n", " Zg=", "Z===", "====", "Zm9v!mFy", "Zg==Zg=="})
    EXPECT_FALSE(base64_decode(wrong)) << wrong;
}

TEST_F(Sealing, OpensWhatItSealedForTheSamePurposeOnly) {
  const SealingKey key = SealingKey::from_base64(base64_encode(random_bytes(32)));
  const std::string sealed = key.seal("secret", "we-1");
  EXPECT_EQ(key.open(sealed, "we-1"), "secret");
  EXPECT_EQ(sealed.find("secret"), std::string::npos);
  EXPECT_NE(key.seal("secret", "we-1"), sealed);
  EXPECT_THROW(key.open(sealed, "we-2"), SealError);
  EXPECT_THROW(SealingKey::from_base64(base64_encode(random_bytes(32))).open(sealed, "we-1"), SealError);
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    std::string altered = sealed;
    altered[i] = static_cast<char>(altered[i] ^ 1);
    EXPECT_THROW(key.open(altered, "we-1"), SealError) << "byte " << i;
  }
  EXPECT_THROW(key.open(sealed.substr(0, 27), "we-1"), SealError);
  EXPECT_EQ(key.open(key.seal("", "x"), "x"), "");
}

TEST_F(Sealing, ManyWhoMakeTheKeyAtOnceGetTheSame) {
  std::vector<std::string> sealed(8);
  {
    std::vector<std::jthread> threads;
    for (std::string& one : sealed)
      threads.emplace_back([&] { one = SealingKey::load_or_create(file_).seal("secret", "we-1"); });
  }
  const SealingKey key = SealingKey::load_or_create(file_);
  for (const std::string& one : sealed) EXPECT_EQ(key.open(one, "we-1"), "secret");
  struct stat about {};
  ASSERT_EQ(::stat(file_.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1) << "nothing is left beside it";
}

TEST_F(Sealing, RefusesAKeyThatOthersMayReadOrThatIsNone) {
  write_durably(file_, base64_encode(random_bytes(32)) + "\n", 0644);
  EXPECT_THROW(SealingKey::load_or_create(file_), UsageError);
  write_durably(file_, "not a key", 0600);
  EXPECT_THROW(SealingKey::load_or_create(file_), UsageError);
  for (const char* wrong : {"", "abc", "MDEyMzQ1Njc4OQ=="}) EXPECT_THROW(SealingKey::from_base64(wrong), UsageError) << wrong;
}

TEST_F(Sealing, TheSettingWinsOverTheFileAndIsNeverRepeated) {
  Settings settings;
  settings.data_directory = directory_;
  settings.webhooks.secret_key = base64_encode(random_bytes(32));
  const std::string sealed = webhooks_key(settings).seal("secret", "we-1");
  EXPECT_FALSE(fs::exists(file_));
  EXPECT_EQ(SealingKey::from_base64(settings.webhooks.secret_key).open(sealed, "we-1"), "secret");
  settings.webhooks.secret_key = "c2hvcnQ=";
  try {
    webhooks_key(settings);
    ADD_FAILURE() << "a short key is taken";
  } catch (const ConfigError& error) {
    EXPECT_EQ(std::string(error.what()).find("c2hvcnQ="), std::string::npos);
  }
}

}  // namespace
}  // namespace finetuned::base
