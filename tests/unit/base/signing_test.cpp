#include "base/signing.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/errors.h"
#include "base/files.h"
#include "base/hex.h"
#include "base/ids.h"
#include "base/sha256.h"

namespace finetuned::base {
namespace {

namespace fs = std::filesystem;

class Signing : public testing::Test {
 protected:
  Signing() { fs::create_directories(directory_); }
  ~Signing() override { fs::remove_all(directory_); }
  fs::path directory_ = fs::temp_directory_path() / make_id("signing");
  fs::path file_ = directory_ / "ledger" / "signing.key";
};

TEST(Hex, WritesAndReadsWhatItWrote) {
  EXPECT_EQ(hex_encode(std::string("\x00\x7f\xff", 3)), "007fff");
  EXPECT_EQ(hex_decode("007fff"), std::string("\x00\x7f\xff", 3));
  EXPECT_EQ(hex_decode(""), "");
  for (const char* wrong : {"0", "0g", "FF", " 00", "00\n"})
    EXPECT_FALSE(hex_decode(wrong)) << wrong;
}

TEST(Sha256Bytes, AreThoseThatHexShows) {
  EXPECT_EQ(hex_encode(sha256_bytes("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex_encode(sha256_bytes("")), sha256_hex(""));
}

// RFC 8032, 7.1, test 2.
TEST_F(Signing, SignsAsTheStandardDoes) {
  const std::string seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
  const std::string der = *hex_decode("302e020100300506032b657004220420" + seed);
  const std::string pem =
      "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n"
      "-----END PRIVATE KEY-----\n";
  ASSERT_EQ(der.size(), 48u);
  fs::create_directories(file_.parent_path());
  write_durably(file_, pem, 0600);
  const SigningKey key = SigningKey::load_or_create(file_);
  EXPECT_EQ(hex_encode(key.public_key()), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  EXPECT_EQ(
      hex_encode(key.sign("\x72")),
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
}

TEST_F(Signing, AKeyIsMadeOnceForItsOwnerAloneAndItsSignaturesHoldForTheirMessageAlone) {
  const SigningKey key = SigningKey::load_or_create(file_), again = SigningKey::load_or_create(file_);
  EXPECT_EQ(key.public_key(), again.public_key());
  struct stat about {};
  ASSERT_EQ(::stat(file_.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  const std::string signature = key.sign("a head");
  EXPECT_TRUE(verify_signature(key.public_key(), "a head", signature));
  EXPECT_FALSE(verify_signature(key.public_key(), "a heaD", signature));
  EXPECT_FALSE(verify_signature(key.public_key(), "a head", signature.substr(1)));
  EXPECT_FALSE(verify_signature("short", "a head", signature));
  const SigningKey other = SigningKey::load_or_create(directory_ / "other.key");
  EXPECT_FALSE(verify_signature(other.public_key(), "a head", signature));
  EXPECT_EQ(public_key_from_pem(public_key_to_pem(key.public_key())), key.public_key());
}

TEST_F(Signing, FilesThatAreNoKeyAreRefused) {
  SigningKey::load_or_create(file_);
  fs::permissions(file_, fs::perms::owner_read | fs::perms::group_read);
  EXPECT_THROW(SigningKey::load_or_create(file_), UsageError);
  write_durably(directory_ / "text", "no key", 0600);
  EXPECT_THROW(SigningKey::load_or_create(directory_ / "text"), UsageError);
  EXPECT_THROW(public_key_from_pem("no key"), UsageError);
}

}  // namespace
}  // namespace finetuned::base
