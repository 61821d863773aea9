#include "services/gateway/tls_context.h"

#include <gmock/gmock.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <cstdio>
#include <fstream>

#include "base/errors.h"
#include "tests/certificates/certificate.h"

namespace finetuned::gateway {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::sys_seconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class TlsContextTest : public testing::Test {
 protected:
  base::Settings::Gateway settings() const {
    base::Settings::Gateway made;
    made.tls_certificate_file = files_.certificate();
    made.tls_key_file = files_.key();
    return made;
  }
  std::string fault() const {
    try {
      const TlsContext context(settings());
    } catch (const base::ConfigError& error) {
      return error.what();
    }
    return "none";
  }
  static std::string content(const fs::path& file) {
    std::ifstream in(file);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }

  tests::CertificateFiles files_;
};

TEST_F(TlsContextTest, TellsWhatTheCertificateSays) {
  const TlsContext context(settings());
  const CertificateFacts& facts = context.certificate();
  EXPECT_EQ(facts.subject, "CN=localhost");
  EXPECT_EQ(facts.names, "DNS:localhost, IP Address:127.0.0.1");
  EXPECT_EQ(facts.fingerprint, files_.fingerprint());
  EXPECT_EQ(facts.not_after - facts.not_before, hours(24 * 90 + 1));
}

TEST_F(TlsContextTest, TakesAChainAndAKeyBesideIt) {
  const tests::CertificateFiles issuer;
  std::ofstream(files_.certificate(), std::ios::app) << "what is between them is a comment\n" << content(issuer.certificate());
  EXPECT_EQ(fault(), "none");
  std::ofstream(files_.certificate(), std::ios::app) << "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  EXPECT_THAT(fault(), HasSubstr("holds a broken certificate behind the first"));
}

TEST_F(TlsContextTest, NamesTheKeyTheFileAndTheFault) {
  const std::string certificate = "gateway.tls_certificate_file: '" + files_.certificate().string() + "' ";
  const std::string key = "gateway.tls_key_file: '" + files_.key().string() + "' ";
  const std::string pem = content(files_.certificate());
  std::ofstream(files_.certificate()) << "";
  EXPECT_THAT(fault(), StartsWith(certificate + "holds no certificate in PEM"));
  std::ofstream(files_.certificate()) << content(files_.key());
  EXPECT_THAT(fault(), StartsWith(certificate + "holds no certificate in PEM"));
  std::ofstream(files_.certificate()) << std::string(2 << 20, 'x');
  EXPECT_THAT(fault(), StartsWith(certificate + "is larger than 1 MB"));
  fs::remove(files_.certificate());
  EXPECT_EQ(fault(), certificate + "cannot be read: No such file or directory");
  std::ofstream(files_.certificate()) << pem;
  const tests::CertificateFiles other;
  const std::string own = content(files_.key());
  std::ofstream(files_.key()) << content(other.key());
  EXPECT_EQ(fault(), key + "is not the key of the certificate in '" + files_.certificate().string() + "': name the two that belong together");
  std::ofstream(files_.key()) << pem;
  EXPECT_THAT(fault(), StartsWith(key + "holds no private key in PEM"));
  fs::remove(files_.key());
  EXPECT_EQ(fault(), key + "cannot be read: No such file or directory");
  fs::create_directory(files_.key());
  EXPECT_EQ(fault(), key + "is not a file");
}

TEST_F(TlsContextTest, AKeyThatOthersMayReadIsRefused) {
  const std::string refused = "holds a secret but others may read it";
  for (const int mode : {0604, 0644, 0602, 0620, 0660}) {
    fs::permissions(files_.key(), static_cast<fs::perms>(mode));
    EXPECT_THAT(fault(), HasSubstr(refused)) << std::oct << mode;
  }
  fs::permissions(files_.key(), static_cast<fs::perms>(0640));
  EXPECT_EQ(fault() == "none", ::getuid() == 0) << "a group may read a key of root's alone";
  fs::permissions(files_.key(), static_cast<fs::perms>(0400));
  EXPECT_EQ(fault(), "none");
}

TEST_F(TlsContextTest, AKeyWithAPassphraseIsRefusedAndNobodyIsAsked) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pair(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  std::FILE* file = std::fopen(files_.key().c_str(), "w");
  ASSERT_TRUE(file);
  EXPECT_EQ(PEM_write_PrivateKey(file, pair.get(), EVP_aes_256_cbc(), nullptr, 0, nullptr, const_cast<char*>("secret")), 1);
  std::fclose(file);
  EXPECT_THAT(fault(), HasSubstr("is locked by a passphrase"));
}

TEST(TlsSettings, TheTwoFilesAreNamedTogether) {
  base::Settings::Gateway settings;
  EXPECT_FALSE(wants_tls(settings));
  settings.tls_key_file = "key.pem";
  try {
    wants_tls(settings);
    ADD_FAILURE() << "a key alone is taken";
  } catch (const base::ConfigError& error) {
    EXPECT_THAT(error.what(), StartsWith("gateway.tls_certificate_file: is empty, but gateway.tls_key_file is not"));
  }
  settings.tls_certificate_file = "certificate.pem";
  EXPECT_TRUE(wants_tls(settings));
}

TEST(CertificateWarning, ComesFourteenDaysBeforeTheEnd) {
  const sys_seconds now{std::chrono::seconds(1'800'000'000)};  // 2027-01-15T08:00:00Z
  CertificateFacts facts;
  facts.not_before = now - hours(1);
  facts.not_after = now + hours(14 * 24);
  EXPECT_EQ(warning_of(facts, now), "");
  EXPECT_EQ(warning_of(facts, now + std::chrono::seconds(1)), "expires on 2027-01-29T08:00:00Z");
  EXPECT_EQ(warning_of(facts, facts.not_after), "expired on 2027-01-29T08:00:00Z");
  EXPECT_EQ(warning_of(facts, now - hours(2)), "is not valid before 2027-01-15T07:00:00Z");
}

}  // namespace
}  // namespace finetuned::gateway
