#include <gmock/gmock.h>

#include <ctime>
#include <fstream>
#include <thread>

#include "base/errors.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "tests/certificates/certificate.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/gateway/tls_client.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using Steady = std::chrono::steady_clock;

constexpr const char* kHealth = "GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n";
constexpr const char* kLastHealth = "GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";

int status_on(Wire& wire) {
  wire.send(kHealth);
  return wire.read().value_or(Answer{}).status;
}

/// A gateway by TLS a test.
class TlsTest : public testing::Test {
 protected:
  void start(const std::function<void(base::Settings&)>& change = {}) {
    gateway_.emplace([&](base::Settings& settings) {
      settings.gateway.tls_certificate_file = certificate_.certificate();
      settings.gateway.tls_key_file = certificate_.key();
      settings.gateway.max_upload_bytes = 64 << 20;
      if (change) change(settings);
    });
  }
  std::uint16_t port() const { return gateway_->port(); }

  Call request(const std::string& method, const std::string& path, const std::string& body = "") const {
    Call made;
    made.method = method;
    made.path = path;
    made.key = tenant_.key;
    made.body = body;
    return made;
  }
  Call upload_of(const std::string& content) const {
    Call made = request("POST", "/v1/files", multipart({field_part("purpose", "user_data"), file_part("a.bin", content)}));
    made.content_type = kMultipart;
    return made;
  }
  /// Of a line of /metrics that begins with `series`.
  double metric(const std::string& series) const {
    Call scrape;
    scrape.path = "/metrics";
    const std::string text = "\n" + tls_call(port(), scrape).body;
    const auto at = text.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + series.size() + 2, nullptr);
  }
  double handshakes(const std::string& outcome) const { return metric("finetuned_tls_handshakes_total{outcome=\"" + outcome + "\"}"); }

  CertificateFiles certificate_;
  Tenant tenant_ = make_tenant();
  std::optional<RunningGateway> gateway_;
};

TEST_F(TlsTest, RequestsAreAnsweredByTls12And13) {
  start();
  for (const std::string version : {"1.2", "1.3"}) {
    TlsWire wire(port(), {.version = version});
    ASSERT_TRUE(wire.connected()) << wire.refusal();
    EXPECT_EQ(wire.version(), "TLSv" + version);
    EXPECT_EQ(wire.fingerprint(), certificate_.fingerprint());
    for (const char* path : {"/healthz", "/readyz", "/v1/models"}) {
      wire.send(to_bytes(request("GET", path)));
      const auto answer = wire.read();
      ASSERT_TRUE(answer) << path;
      EXPECT_EQ(answer->status, 200) << path << answer->body;
    }
    EXPECT_FALSE(wire.has_ticket()) << "a session is not resumed";
    wire.send(kLastHealth);
    EXPECT_EQ(wire.read().value_or(Answer{}).status, 200);
    EXPECT_TRUE(wire.closes_within(milliseconds(2000)));
    EXPECT_TRUE(wire.ended()) << "what was sent is known to be all";
  }
  EXPECT_EQ(handshakes("done"), 3) << "the two, and this scrape's own";
}

TEST_F(TlsTest, WhatIsTooOldOrTooWeakIsRefused) {
  start();
  EXPECT_THAT(TlsWire(port(), {.version = "1.1"}).refusal(), HasSubstr("protocol version"));
  for (const char* weak : {"ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384"})
    EXPECT_THAT(TlsWire(port(), {.version = "1.2", .ciphers = weak}).refusal(), HasSubstr("handshake failure")) << weak;
  TlsWire wire(port(), {.version = "1.2"});
  ASSERT_EQ(status_on(wire), 200);
  EXPECT_FALSE(wire.renegotiates());
  EXPECT_EQ(handshakes("refused"), 5);
}

TEST_F(TlsTest, TheOldestVersionIsASetting) {
  start([](base::Settings& settings) { settings.gateway.tls_min_version = base::TlsVersion::k1_3; });
  EXPECT_THAT(TlsWire(port(), {.version = "1.2"}).refusal(), HasSubstr("protocol version"));
  TlsWire wire(port());
  EXPECT_EQ(status_on(wire), 200);
  EXPECT_EQ(wire.version(), "TLSv1.3");
}

TEST_F(TlsTest, HttpVersionOneIsChosenAndNothingElseSpoken) {
  start();
  TlsWire both(port(), {.protocols = {"h2", "http/1.1"}});
  EXPECT_EQ(both.protocol(), "http/1.1");
  EXPECT_EQ(status_on(both), 200);
  TlsWire silent(port(), {.protocols = {}});
  EXPECT_EQ(silent.protocol(), "");
  EXPECT_EQ(status_on(silent), 200);
  for (const char* version : {"1.2", "1.3"})
    EXPECT_THAT(TlsWire(port(), {.version = version, .protocols = {"h2"}}).refusal(), HasSubstr("no application protocol"));
}

TEST_F(TlsTest, AHandshakeThatDoesNotEndIsCutOffAndOthersAreAnswered) {
  start([](base::Settings& settings) { settings.gateway.header_timeout_seconds = 1; });
  const std::string hello = client_hello();
  Wire silent(port()), half(port()), dripping(port());
  half.send(hello.substr(0, hello.size() / 2));
  const auto begun = Steady::now();
  bool cut = false;
  for (std::size_t i = 0; i < hello.size() && !cut; ++i) {
    dripping.send(hello.substr(i, 1));
    cut = dripping.closes_within(milliseconds(20));
    if (i % 20 == 0) {
      EXPECT_EQ(tls_call(port(), request("GET", "/v1/models")).status, 200);
    }
    if (Steady::now() - begun > milliseconds(8000)) break;
  }
  EXPECT_TRUE(cut);
  EXPECT_GT(Steady::now() - begun, milliseconds(900));
  EXPECT_TRUE(silent.closes_within(milliseconds(1000)));
  EXPECT_TRUE(half.closes_within(milliseconds(1000)));
  EXPECT_EQ(handshakes("gone"), 3);
}

TEST_F(TlsTest, TheTimeOfTheHandshakeIsTakenFromTheFirstHeads) {
  start([](base::Settings& settings) { settings.gateway.header_timeout_seconds = 1; });
  TlsWire wire(port());
  ASSERT_TRUE(wire.connected());
  EXPECT_TRUE(wire.closes_within(milliseconds(3000)));
}

TEST_F(TlsTest, AClientThatGoesAwayInTheHandshakeLeavesNothing) {
  start();
  const std::string hello = client_hello();
  for (std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{5}, hello.size() / 2, hello.size()}) Wire(port()).send(hello.substr(0, size));
  double open = 0;
  for (int i = 0; i < 300 && (open = metric("finetuned_http_connections")) != 1; ++i) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(open, 1) << "the scrape's own";
  EXPECT_EQ(handshakes("gone"), 5);
}

TEST_F(TlsTest, PlainHttpIsToldToUseTlsAndNoiseIsClosed) {
  start();
  for (const std::string& plain : {std::string(kHealth), "DELETE /v1/files/a HTTP/1.1\r\nHost: t\r\n\r\n" + std::string(100'000, 'x')}) {
    Wire wire(port());
    wire.send(plain);
    const auto answer = wire.read();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 400);
    EXPECT_EQ(answer->code(), "tls_required");
    EXPECT_EQ(answer->header("connection"), "close");
    wire.end_sending();
    EXPECT_TRUE(wire.closes_within(milliseconds(3000)));
  }
  for (const std::string& noise : {std::string("\r\n\r\n\r\n"), std::string(5000, '\0'), std::string("\x16\x03\x01\xff\xff") + std::string(70'000, 'z'),
                                   std::string("\x80\x2e\x01\x03\x01")  + std::string(50, '\1')}) {
    Wire wire(port());
    wire.send(noise);
    EXPECT_TRUE(wire.closes_within(milliseconds(3000)));
  }
  EXPECT_EQ(handshakes("plain_http"), 2);
  EXPECT_EQ(handshakes("refused"), 4);
  EXPECT_EQ(tls_call(port(), request("GET", "/v1/models")).status, 200);
}

TEST_F(TlsTest, RequestsAreReadHoweverRecordsCutThem) {
  start();
  TlsWire wire(port());
  const std::string bytes = to_bytes(request("GET", "/v1/models"));
  for (const char byte : bytes) ASSERT_TRUE(wire.send(std::string(1, byte)));
  EXPECT_EQ(wire.read().value_or(Answer{}).status, 200);
  std::string many;
  for (int i = 0; i < 40; ++i) many += bytes;
  ASSERT_TRUE(wire.send(many));  // pipelined, some to a record
  for (int i = 0; i < 40; ++i) ASSERT_EQ(wire.read().value_or(Answer{}).status, 200) << i;
  ASSERT_TRUE(wire.send("GET / HTTP/1.1\r\nHost: t\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n"));
  EXPECT_EQ(wire.read().value_or(Answer{}).status, 431);
  EXPECT_TRUE(wire.closes_within(milliseconds(6000)));
}

TEST_F(TlsTest, LargeBodiesComeAndGoWhole) {
  start();
  const std::string content = base::random_bytes(20'000'000);
  const std::string digest = base::sha256_hex(content);
  for (const std::string version : {"1.2", "1.3"}) {
    TlsWire wire(port(), {.version = version});
    ASSERT_TRUE(wire.send(to_bytes(upload_of(content))));
    const auto stored = wire.read();
    ASSERT_TRUE(stored);
    ASSERT_EQ(stored->status, 200) << stored->body;
    const std::string id = text(stored->json().at("id"));
    wire.send(to_bytes(request("GET", "/v1/files/" + id + "/content")));
    const auto loaded = wire.read();
    ASSERT_TRUE(loaded);
    EXPECT_EQ(loaded->status, 200);
    EXPECT_EQ(base::sha256_hex(loaded->body), digest);
    EXPECT_EQ(loaded->header("etag"), "\"" + digest + "\"");
    EXPECT_EQ(status_on(wire), 200) << "the connection serves on";
  }
}

/// A part of a record has come by then: the answer goes out beside it.
TEST_F(TlsTest, ABodyThatStopsIsAnswered) {
  start([](base::Settings& settings) { settings.gateway.request_timeout_seconds = 1; });
  TlsWire wire(port());
  wire.send("POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer " + tenant_.key + "\r\nContent-Length: 10\r\n\r\n{");
  const auto answer = wire.read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 408);
  EXPECT_EQ(answer->code(), "request_timeout");
  EXPECT_TRUE(wire.closes_within(std::chrono::milliseconds(3000)));
  EXPECT_TRUE(wire.ended()) << "in order";
}

TEST_F(TlsTest, DownloadUrlsAreHttps) {
  start();
  const std::string id = text(tls_call(port(), upload_of("content")).json().at("id"));
  const Answer made = tls_call(port(), request("POST", "/v1/files/" + id + "/download_url"));
  ASSERT_EQ(made.status, 200) << made.body;
  EXPECT_THAT(text(made.json().at("url")), testing::StartsWith("https://test/v1/"));
}

class TlsStreamTest : public TlsTest {
 protected:
  TlsStreamTest() {
    start();
    give_credit(pool(), tenant_.project, 1'000'000'000);
    const auto base = make_base_model(pool());
    const auto file = make_counted_file(pool(), tenant_.project, base, std::vector<std::uint32_t>(20, 10));
    const Answer created = tls_call(
        port(), request("POST", "/v1/fine_tuning/jobs", R"({"model":")" + base.name + R"(","training_file":")" + file.id + "\"}"));
    job_ = text(created.json().at("id"));
  }
  std::string stream(const std::string& version) const {
    return "GET /v1/fine_tuning/jobs/" + job_ + "/stream HTTP/" + version + "\r\nHost: t\r\nAuthorization: Bearer " + tenant_.key + "\r\n\r\n";
  }
  int cancel() const { return tls_call(port(), request("POST", "/v1/fine_tuning/jobs/" + job_ + "/cancel")).status; }

  std::string job_;
};

TEST_F(TlsStreamTest, EventsComeAsTheyHappenAndTheConnectionServesOn) {
  TlsWire wire(port());
  wire.send(stream("1.1"));
  EXPECT_THAT(wire.read_until("Created fine-tuning job"), HasSubstr("text/event-stream"));
  wire.send(kHealth);  // kept until the stream has ended
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(cancel(), 200);
  EXPECT_THAT(wire.read_until("0\r\n\r\n"), AllOf(HasSubstr("\"status\":\"cancelled\""), HasSubstr("data: [DONE]")));
  EXPECT_EQ(wire.read().value_or(Answer{}).status, 200);
}

TEST_F(TlsStreamTest, AnEndOfTheConnectionIsSaidWhereItEndsTheBody) {
  ASSERT_EQ(cancel(), 200);
  TlsWire wire(port());
  wire.send(stream("1.0"));
  EXPECT_THAT(wire.read_until("data: [DONE]\n\n"), HasSubstr("connection: close"));
  EXPECT_TRUE(wire.closes_within(milliseconds(2000)));
  EXPECT_TRUE(wire.ended());
}

TEST_F(TlsStreamTest, AClientThatSaysItsGoodbyeIsNotStreamedTo) {
  TlsWire polite(port()), rude(port());
  for (TlsWire* wire : {&polite, &rude}) {
    wire->send(stream("1.1"));
    ASSERT_NE(wire->read_until("Created fine-tuning job"), "");
  }
  EXPECT_EQ(metric("finetuned_http_requests_in_flight"), 3) << "the two, and this scrape";
  polite.end();  // its socket stays open
  rude.close();
  double left = 0;
  for (int i = 0; i < 500 && (left = metric("finetuned_http_requests_in_flight")) != 1; ++i) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(left, 1);
}

TEST_F(TlsTest, ANewCertificateIsForNewConnections) {
  start();
  const std::string former = certificate_.fingerprint();
  TlsWire old(port());
  ASSERT_EQ(status_on(old), 200);
  certificate_.replace({.common_name = "renewed", .valid_until = std::chrono::hours(24 * 30)});
  EXPECT_TRUE(gateway_->reload());
  TlsWire fresh(port());
  EXPECT_EQ(status_on(fresh), 200);
  EXPECT_EQ(fresh.fingerprint(), certificate_.fingerprint());
  EXPECT_EQ(status_on(old), 200) << "the connection from before goes on";
  EXPECT_EQ(old.fingerprint(), former);
  const double left = metric("finetuned_tls_certificate_expiry_timestamp_seconds") - static_cast<double>(std::time(nullptr));
  EXPECT_NEAR(left, 30 * 24 * 3600, 120);
}

TEST_F(TlsTest, WhatCannotBeLoadedLeavesTheOneBefore) {
  start();
  const std::string former = certificate_.fingerprint();
  const CertificateFiles other;
  std::filesystem::copy_file(other.key(), certificate_.key(), std::filesystem::copy_options::overwrite_existing);
  EXPECT_FALSE(gateway_->reload()) << "the key is another's";
  std::ofstream(certificate_.certificate()) << "no certificate\n";
  EXPECT_FALSE(gateway_->reload());
  std::filesystem::remove(certificate_.certificate());
  EXPECT_FALSE(gateway_->reload());
  TlsWire wire(port());
  EXPECT_EQ(status_on(wire), 200);
  EXPECT_EQ(wire.fingerprint(), former);
  std::filesystem::copy_file(other.certificate(), certificate_.certificate());
  EXPECT_TRUE(gateway_->reload());
  EXPECT_EQ(TlsWire(port()).fingerprint(), other.fingerprint());
}

TEST_F(TlsTest, ReloadsAndHandshakesBesideEachOther) {
  start();
  std::atomic<int> answered{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 3; ++c)
    clients.emplace_back([&] {
      for (int i = 0; i < 15; ++i) {
        TlsWire wire(port());
        answered += status_on(wire) == 200;
      }
    });
  for (int i = 0; i < 30; ++i) EXPECT_TRUE(gateway_->reload());
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(answered, 45);
}

TEST_F(TlsTest, AFaultyCertificateIsRefusedAtTheStart) {
  const CertificateFiles other;
  const auto fault = [&](const std::function<void(base::Settings::Gateway&)>& change) -> std::string {
    try {
      start([&](base::Settings& settings) { change(settings.gateway); });
    } catch (const base::ConfigError& error) {
      return error.what();
    }
    return "it started";
  };
  EXPECT_THAT(fault([&](auto& gateway) { gateway.tls_key_file = other.key(); }),
              AllOf(HasSubstr("gateway.tls_key_file: '" + other.key().string()), HasSubstr(certificate_.certificate().string())));
  EXPECT_THAT(fault([](auto& gateway) { gateway.tls_key_file.clear(); }), HasSubstr("gateway.tls_key_file: is empty"));
}

TEST_F(TlsTest, ADrainEndsIdleConnectionsAndAnswersWhatIsInFlight) {
  start();
  TlsWire idle(port()), busy(port());
  Wire unfinished(port());
  unfinished.send(client_hello().substr(0, 50));
  ASSERT_EQ(status_on(idle), 200);
  const std::string bytes = to_bytes(upload_of(std::string(200'000, 'x')));
  ASSERT_TRUE(busy.send(bytes.substr(0, 100'000)));
  while (gateway_->stored_objects() == 0) std::this_thread::sleep_for(milliseconds(5));
  gateway_->stop();
  EXPECT_TRUE(idle.closes_within(milliseconds(3000)));
  EXPECT_TRUE(idle.ended()) << "nothing was cut off";
  EXPECT_TRUE(unfinished.closes_within(milliseconds(3000)));
  ASSERT_TRUE(busy.send(bytes.substr(100'000)));
  const auto answer = busy.read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200) << answer->body;
  EXPECT_EQ(answer->header("connection"), "close");
  EXPECT_TRUE(busy.closes_within(milliseconds(3000)));
  EXPECT_TRUE(busy.ended());
  EXPECT_TRUE(gateway_->wait());
}

TEST_F(TlsTest, AnAnswerThatWasCutOffDoesNotEndInOrder) {
  start([](base::Settings& settings) { settings.gateway.drain_seconds = 1; });
  const std::string id = text(tls_call(port(), upload_of(base::random_bytes(30'000'000))).json().at("id"));
  TlsWire wire(port());
  wire.send(to_bytes(request("GET", "/v1/files/" + id + "/content")));
  ASSERT_NE(wire.read_until("\r\n\r\n"), "");
  EXPECT_FALSE(gateway_->wait()) << "the client reads nothing, so the drain cuts it off";
  EXPECT_TRUE(wire.closes_within(milliseconds(3000)));
  EXPECT_FALSE(wire.ended());
}

}  // namespace
}  // namespace finetuned::tests
