#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>

#include "tests/certificates/certificate.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/supervisor/program.h"

namespace finetuned::tests {
namespace {

using testing::HasSubstr;

/// A site whose gateway has a certificate.
class TlsSiteTest : public testing::Test {
 protected:
  bool logged(const std::string& text) const {
    return eventually([&] { return site_.log().find(text) != std::string::npos; }, 60);
  }

  CertificateFiles certificate_;
  Site site_{"tls_certificate_file = \"" + certificate_.certificate().string() + "\"\ntls_key_file = \"" + certificate_.key().string() + "\"\n"};
};

TEST_F(TlsSiteTest, AHangupLoadsTheCertificateAnewAndStopsNothing) {
  ASSERT_EQ(site_.run({"migrate"}).status, 0);
  site_.serve();
  ASSERT_TRUE(logged(certificate_.fingerprint())) << site_.log();
  for (const char* role : {"intake", "scheduler", "worker", "metering", "webhooks"}) ASSERT_TRUE(logged(std::string(role) + ": ready")) << role;
  ::kill(site_.pid_of("worker"), SIGHUP);
  certificate_.replace({.common_name = "renewed"});
  site_.signal(SIGHUP);
  EXPECT_TRUE(logged("CN=renewed")) << site_.log();
  EXPECT_TRUE(logged(certificate_.fingerprint())) << site_.log();
  std::ofstream(certificate_.certificate()) << "nothing\n";
  site_.signal(SIGHUP);
  EXPECT_TRUE(logged("the one before stays in use")) << site_.log();
  for (const char* role : {"gateway", "intake", "scheduler", "worker", "metering", "webhooks"}) EXPECT_EQ(site_.times_started(role), 1) << role;
  EXPECT_EQ(site_.stop(SIGTERM), 0) << site_.log();
}

TEST_F(TlsSiteTest, AFaultyCertificateIsSaidOnceAndStopsTheStart) {
  std::filesystem::permissions(certificate_.key(), std::filesystem::perms(0644));
  const Outcome gateway = site_.run({"gateway"});
  EXPECT_EQ(gateway.status, 2);
  EXPECT_THAT(gateway.err, HasSubstr("gateway.tls_key_file: '" + certificate_.key().string() + "' holds a secret but others may read it: chmod 600"));
  EXPECT_EQ(std::count(gateway.err.begin(), gateway.err.end(), '\n'), 1) << gateway.err;
}

TEST_F(TlsSiteTest, TheDoctorSaysWhetherTheCertificateCanBeUsed) {
  ASSERT_EQ(site_.run({"migrate"}).status, 0);  // else that is what is wrong
  const Outcome well = site_.run({"doctor"});
  EXPECT_EQ(well.status, 0) << well.out << well.err;
  EXPECT_THAT(well.out, HasSubstr("certificate: usable (CN=localhost; DNS:localhost, IP Address:127.0.0.1; until "));
  certificate_.replace({.valid_until = std::chrono::hours(24 * 3)});
  EXPECT_THAT(site_.run({"doctor"}).out, HasSubstr("certificate: it expires on "));
  const CertificateFiles other;
  std::filesystem::copy_file(other.key(), certificate_.key(), std::filesystem::copy_options::overwrite_existing);
  const Outcome ill = site_.run({"doctor", "--json"});
  EXPECT_EQ(ill.status, 1);
  EXPECT_THAT(ill.out, HasSubstr("\"certificate\":{\"usable\":false,\"detail\":\"gateway.tls_key_file: "));
}

}  // namespace
}  // namespace finetuned::tests
