#include <gmock/gmock.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "storage/key_store.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/gateway/unread_wire.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

using std::chrono::milliseconds;

class DoorTest : public GatewayTest {};

TEST_F(DoorTest, HealthNeedsNoKey) {
  const Answer health = send_as("", "GET", "/healthz");
  EXPECT_EQ(health.status, 200);
  const Answer ready = send_as("", "GET", "/readyz");
  EXPECT_EQ(ready.status, 200) << ready.body;
  const auto checks = ready.json();
  for (const char* name : {"postgresql", "redis", "storage"}) EXPECT_EQ(checks.at("checks").at(name), "ok");
}

TEST_F(DoorTest, KeysAreChecked) {
  const Answer without = send_as("", "GET", "/v1/files");
  EXPECT_EQ(without.status, 401);
  EXPECT_EQ(without.code(), "missing_api_key");
  EXPECT_EQ(without.header("www-authenticate"), "Bearer");
  const Answer wrong = send_as("sk-ft-wrong", "GET", "/v1/files");
  EXPECT_EQ(wrong.status, 401);
  EXPECT_EQ(wrong.code(), "invalid_api_key");
  const Answer basic = send("GET", "/v1/files", "", {"openai-project: proj-other"});
  EXPECT_EQ(basic.code(), "mismatched_project");
  EXPECT_EQ(send("GET", "/v1/files", "", {"openai-project: " + tenant_.project.id,
                                          "openai-organization: " + tenant_.project.organization_id}).status, 200);
}

TEST_F(DoorTest, TheSchemesNameIsInAnyCase) {
  const auto status_with = [&](const std::string& authorization) {
    Call request;
    request.path = "/v1/files";
    request.headers = {"Authorization: " + authorization};
    return call(gateway_->port(), request).status;
  };
  for (const char* scheme : {"Bearer ", "bearer ", "BEARER "}) EXPECT_EQ(status_with(scheme + tenant_.key), 200) << scheme;
  for (const char* scheme : {"", "Basic ", "Bearer", "Bearer\t", "Bearer  ", "Bearers "})
    EXPECT_EQ(status_with(scheme + tenant_.key), 401) << scheme;
}

TEST_F(DoorTest, AKeyRevokedBehindTheGatewaysBackIsRefusedWithinASecond) {
  EXPECT_EQ(get("/v1/files").status, 200);
  pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) {
    storage::KeyStore keys(tx);
    keys.revoke(keys.authenticate(tenant_.key)->id);
  });
  const auto revoked = std::chrono::steady_clock::now();
  while (get("/v1/files").status == 200 && std::chrono::steady_clock::now() < revoked + milliseconds(5000))
    std::this_thread::sleep_for(milliseconds(10));
  EXPECT_LT(std::chrono::steady_clock::now() - revoked, milliseconds(1000));
  EXPECT_EQ(get("/v1/files").status, 401);
}

TEST_F(DoorTest, TheKeyIsCheckedBeforeTheBodyIsRead) {
  Wire wire(gateway_->port());
  wire.send("POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer sk-ft-no\r\nContent-Length: 1000000\r\n\r\n");
  const auto answer = wire.read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 401);
  EXPECT_EQ(answer->header("connection"), "close");
}

TEST_F(DoorTest, UnknownUrlsAndMethods) {
  EXPECT_EQ(get("/").status, 404);
  const Answer unknown = get("/v1/unknown");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(unknown.code(), "unknown_url");
  EXPECT_EQ(send("PUT", "/v1/files").status, 405);
  EXPECT_EQ(get("/v1/files/%00").status, 400);
  EXPECT_EQ(get("/v1//files").status, 400);
}

TEST_F(DoorTest, AConnectionServesManyRequests) {
  Wire wire(gateway_->port());
  Call request;
  request.path = "/v1/models";
  request.key = tenant_.key;
  const std::string bytes = to_bytes(request);
  wire.send(bytes + bytes);  // pipelined
  for (int i = 0; i < 2; ++i) EXPECT_EQ(wire.read().value_or(Answer{}).status, 200);
  request.method = "POST";
  request.path = "/v1/nothing";
  request.body = "a small body that nobody reads";
  wire.send(to_bytes(request));
  EXPECT_EQ(wire.read().value_or(Answer{}).status, 404);
  wire.send(bytes);
  const auto last = wire.read();
  ASSERT_TRUE(last);
  EXPECT_EQ(last->header("connection"), "keep-alive");
}

/// HEAD was answered with 405 everywhere.
TEST_F(DoorTest, HeadHasTheHeadOfGetAndNoBody) {
  const std::string id = upload("{}\n");
  Call request;
  request.key = tenant_.key;
  Wire wire(gateway_->port());
  for (const std::string& path : {std::string("/healthz"), std::string("/v1/models"), "/v1/files/" + id, "/v1/files/" + id + "/content",
                                  std::string("/v1/files/file-nothing"), std::string("/openapi.json")}) {
    request.path = path;
    request.method = "GET";
    const Answer whole = call(gateway_->port(), request);
    request.method = "HEAD";
    ASSERT_TRUE(wire.send(to_bytes(request)));
    const auto head = wire.read(true);
    ASSERT_TRUE(head) << path;
    EXPECT_EQ(head->status, whole.status) << path;
    for (const char* name : {"content-length", "content-type", "etag", "accept-ranges", "content-disposition"})
      EXPECT_EQ(head->header(name), whole.header(name)) << path << " " << name;
    EXPECT_EQ(head->header("connection"), "keep-alive") << path;  // and the next one is answered on it
  }
  request.path = "/v1/files/" + id + "/content";
  request.headers = {"Range: bytes=1-1"};
  wire.send(to_bytes(request));
  const auto part = wire.read(true);
  ASSERT_TRUE(part);
  EXPECT_EQ(part->status, 206);
  EXPECT_EQ(part->header("content-length"), "1");
}

TEST_F(DoorTest, AMethodThatIsNotTakenIsToldWhichAre) {
  const Answer collection = send("PUT", "/v1/files");
  EXPECT_EQ(collection.status, 405);
  EXPECT_EQ(collection.code(), "method_not_allowed");
  EXPECT_EQ(collection.header("allow"), "GET, HEAD, POST");
  EXPECT_EQ(send("DELETE", "/v1/chat/completions").header("allow"), "POST");
  EXPECT_EQ(send("OPTIONS", "/v1/models/m").header("allow"), "GET, HEAD, DELETE");
}

TEST_F(DoorTest, AnswersToHeadHaveNoBody) {
  Wire wire(gateway_->port());
  wire.send("HEAD /v1/chat/completions HTTP/1.1\r\nHost: t\r\n\r\nGET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  const auto head = wire.read(true);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->status, 405);
  EXPECT_EQ(head->header("allow"), "POST");
  EXPECT_NE(head->header("content-length"), "0");
  const auto next = wire.read();
  ASSERT_TRUE(next);
  EXPECT_EQ(next->status, 200);
  EXPECT_EQ(next->header("connection"), "close");
  EXPECT_TRUE(wire.closes_within(milliseconds(1000)));
}

TEST_F(DoorTest, AmbiguousFramingIsRefusedAndTheConnectionClosed) {
  for (const std::string& bad :
       {std::string("GET /healthz HTTP/1.1\r\n\r\n"), std::string("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        std::string("POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        std::string("GET /healthz HTTP/1.1\nHost: a\n\n"), std::string("GET /healthz HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"),
        std::string("\x16\x03\x01\n")}) {
    Wire wire(gateway_->port());
    wire.send(bad);
    const auto answer = wire.read();
    ASSERT_TRUE(answer) << bad;
    EXPECT_EQ(answer->status, 400) << bad;
    EXPECT_EQ(answer->code(), "invalid_request_head");
    EXPECT_TRUE(wire.closes_within(milliseconds(6000)));
  }
}

TEST_F(DoorTest, ABrokenChunkIsRefused) {
  Wire wire(gateway_->port());
  wire.send("POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer " + tenant_.key +
            "\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
  const auto answer = wire.read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 400);
  EXPECT_EQ(answer->code(), "invalid_chunk");
}

/// The gateway gathered them in memory as long as they came, without a key.
TEST_F(DoorTest, EndlessChunkExtensionsAndTrailersAreRefused) {
  for (const char* begin : {"2;", "2\r\n{}\r\n0\r\nX: "}) {
    Wire wire(gateway_->port());
    wire.send("GET /healthz HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(begin) +
              std::string(200'000, 'a'));
    const auto answer = wire.read();
    ASSERT_TRUE(answer) << begin;
    EXPECT_EQ(answer->status, 400);
    EXPECT_EQ(answer->code(), "invalid_chunk");
    EXPECT_TRUE(wire.closes_within(milliseconds(6000)));
  }
}

/// The header was ignored: a compressed dataset was kept as it came, and its rows were called broken.
TEST_F(DoorTest, EncodedBodiesAreRefused) {
  const std::string form = multipart({field_part("purpose", "fine-tune"), file_part("a.jsonl", "{}\n")});
  for (const char* encoding : {"gzip", "br", "identity, gzip", "deflate\r\nContent-Encoding: identity", "identity\r\ncontent-encoding: zstd"}) {
    Call request;
    request.method = "POST";
    request.key = tenant_.key;
    request.headers = {std::string("Content-Encoding: ") + encoding};
    request.path = "/v1/files";
    request.body = form;
    request.content_type = kMultipart;
    const Answer file = call(gateway_->port(), request);
    EXPECT_EQ(file.status, 415) << encoding << ": " << file.body;
    EXPECT_EQ(file.code(), "unsupported_content_encoding");
    EXPECT_EQ(file.param(), "Content-Encoding");
    request.path = "/v1/fine_tuning/jobs";
    request.body = "{}";
    request.content_type = "application/json";
    EXPECT_EQ(call(gateway_->port(), request).status, 415) << encoding;
  }
  EXPECT_EQ(send("POST", "/v1/fine_tuning/jobs", "{}", {"Content-Encoding: identity"}).code(), "missing_required_parameter");
  EXPECT_EQ(send("GET", "/v1/models", "", {"Content-Encoding: gzip"}).status, 200);  // there is no body
}

/// The first one counted, and nobody was told.
TEST_F(DoorTest, AParameterThatIsGivenTwiceIsNamed) {
  for (const auto& [query, name] : {std::pair{"limit=1&limit=2", "limit"}, {"order=asc&limit=3&order=asc", "order"},
                                    {"after=&after=ftjob-a", "after"}, {"metadata[a]=1&metadata%5Ba%5D=2", "metadata[a]"}}) {
    const Answer answer = get("/v1/fine_tuning/jobs?" + std::string(query));
    EXPECT_EQ(answer.status, 400) << query;
    EXPECT_EQ(answer.code(), "repeated_parameter") << answer.body;
    EXPECT_EQ(answer.param(), name);
  }
  EXPECT_EQ(get("/v1/fine_tuning/jobs?metadata[a]=1&metadata[b]=1&limit=2").status, 200);
  EXPECT_EQ(get("/v1/fine_tuning/jobs?colour=red&colour=blue").status, 200);  // what means nothing is ignored
  const std::string lists = "?project_ids[]=a&project_ids[]=b&event_types=a&event_types=b";
  EXPECT_EQ(send_as(tenant_.admin_key, "GET", "/v1/organization/audit_logs" + lists).status, 200);
}

TEST_F(DoorTest, HeadsAreBounded) {
  Wire wire(gateway_->port());
  wire.send("GET /healthz HTTP/1.1\r\nHost: t\r\nX: " + std::string(9000, 'a') + "\r\n\r\n");
  const auto answer = wire.read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 431);
}

TEST(DoorLimitsTest, SlowAndIdleClientsAreClosed) {
  RunningGateway gateway([](base::Settings& settings) {
    settings.gateway.header_timeout_seconds = 1;
    settings.gateway.idle_timeout_seconds = 1;
    settings.gateway.request_timeout_seconds = 1;
  });
  const Tenant tenant = make_tenant();
  Wire silent(gateway.port()), slow(gateway.port()), idle(gateway.port()), body(gateway.port());
  slow.send("GET /healthz HT");
  idle.send("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
  EXPECT_EQ(idle.read().value_or(Answer{}).status, 200);
  body.send("POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer " + tenant.key + "\r\nContent-Length: 10\r\n\r\n{");
  EXPECT_TRUE(slow.closes_within(milliseconds(3000)));
  EXPECT_TRUE(body.closes_within(milliseconds(3000)));
  EXPECT_TRUE(silent.closes_within(milliseconds(3000)));
  EXPECT_TRUE(idle.closes_within(milliseconds(3000)));
}

/// One timer watches over a connection's silences, of which the first may last as long as a head.
TEST(DoorLimitsTest, ASilenceEndsInItsOwnTimeWhateverTheOneBeforeHad) {
  const auto served = [](int header_seconds, int idle_seconds) {
    return [=](base::Settings& settings) {
      settings.gateway.header_timeout_seconds = header_seconds;
      settings.gateway.idle_timeout_seconds = idle_seconds;
    };
  };
  RunningGateway soon(served(60, 1)), late(served(1, 60));
  Wire closed(soon.port()), open(late.port());
  for (Wire* wire : {&closed, &open}) {
    wire->send("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
    EXPECT_EQ(wire->read().value_or(Answer{}).status, 200);
  }
  EXPECT_TRUE(closed.closes_within(milliseconds(5000)));
  EXPECT_FALSE(open.closes_within(milliseconds(2500)));
  open.send("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
  EXPECT_EQ(open.read().value_or(Answer{}).status, 200);
}

/// The connection was closed without a word, which clients take for a broken network.
TEST(DoorLimitsTest, ABodyThatStopsIsAnswered) {
  RunningGateway gateway([](base::Settings& settings) { settings.gateway.request_timeout_seconds = 1; });
  const Tenant tenant = make_tenant();
  const std::string key = "Host: t\r\nAuthorization: Bearer " + tenant.key + "\r\n";
  const std::string half = multipart({field_part("purpose", "fine-tune"), file_part("a.jsonl", "{}\n")}).substr(0, 150);
  Wire counted(gateway.port()), chunked(gateway.port()), form(gateway.port()), unread(gateway.port());
  counted.send("POST /v1/fine_tuning/jobs HTTP/1.1\r\n" + key + "Content-Length: 10\r\n\r\n{");
  chunked.send("POST /v1/fine_tuning/jobs HTTP/1.1\r\n" + key + "Transfer-Encoding: chunked\r\n\r\n5\r\n{");
  form.send("POST /v1/files HTTP/1.1\r\n" + key + "Content-Type: " + kMultipart + "\r\nContent-Length: 1000\r\n\r\n" + half);
  unread.send("POST /v1/nothing HTTP/1.1\r\n" + key + "Content-Length: 10\r\n\r\n{");
  const auto not_found = unread.read();  // after two seconds for the rest
  ASSERT_TRUE(not_found);
  EXPECT_EQ(not_found->status, 404);
  EXPECT_EQ(not_found->header("connection"), "close");
  for (Wire* wire : {&counted, &chunked, &form}) {
    const auto answer = wire->read();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 408);
    EXPECT_EQ(answer->code(), "request_timeout") << answer->body;
    EXPECT_EQ(answer->header("x-should-retry"), "true");
    EXPECT_EQ(answer->header("connection"), "close");
    EXPECT_TRUE(wire->closes_within(milliseconds(3000)));
  }
  EXPECT_EQ(gateway.stored_objects(), 0u);
}

/// Every wait begins anew with each byte: what is slow but comes is taken.
TEST(DoorLimitsTest, ASlowBodyIsTakenWithinItsTime) {
  RunningGateway gateway([](base::Settings& settings) { settings.gateway.request_timeout_seconds = 3; });
  const Tenant tenant = make_tenant();
  Wire wire(gateway.port());
  wire.send("POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer " + tenant.key + "\r\nContent-Length: 6\r\n\r\n");
  for (const char byte : std::string("{    }")) {
    std::this_thread::sleep_for(milliseconds(200));
    ASSERT_TRUE(wire.send(std::string(1, byte)));
  }
  const auto answer = wire.read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->code(), "missing_required_parameter") << answer->body;
}

/// The kernel kept megabytes of each for many minutes after the gateway had closed it.
TEST(DoorLimitsTest, NothingIsKeptOfAnAnswerThatNobodyReads) {
  RunningGateway gateway([](base::Settings& settings) {
    settings.gateway.request_timeout_seconds = 1;
    settings.gateway.max_upload_bytes = 32 << 20;
  });
  const Tenant tenant = make_tenant();
  Call request;
  request.method = "POST";
  request.path = "/v1/files";
  request.key = tenant.key;
  request.content_type = kMultipart;
  request.body = multipart({field_part("purpose", "user_data"), file_part("a", std::string(24 << 20, 'a'))});
  const std::string file = text(call(gateway.port(), request).json().at("id"));
  Call read;
  read.path = "/v1/files/" + file + "/content";
  read.key = tenant.key;
  UnreadWire unread(gateway.port());
  unread.send(to_bytes(read));
  // Of the gateway's ends: `0: 0100007F:PORT REMOTE STATE SENDQUEUE:RECEIVEQUEUE ...`, in hexadecimal.
  const auto kept = [&] {
    char local[24];
    std::snprintf(local, sizeof local, "0100007F:%04X", gateway.port());
    std::ifstream table("/proc/net/tcp");
    std::size_t bytes = 0;
    for (std::string line; std::getline(table, line);) {
      std::istringstream fields(line);
      std::string number, at, remote, state, queues;
      fields >> number >> at >> remote >> state >> queues;
      if (at == local) bytes += std::stoul(queues.substr(0, queues.find(':')), nullptr, 16);
    }
    return bytes;
  };
  EXPECT_TRUE(eventually([&] { return kept() > 0; }, 10));
  EXPECT_TRUE(eventually([&] { return kept() == 0; }, 20)) << kept() << " bytes";
}

TEST(DoorLimitsTest, ConnectionsBeyondTheLimitAreTold) {
  RunningGateway gateway([](base::Settings& settings) { settings.gateway.max_connections = 2; });
  Wire first(gateway.port()), second(gateway.port());
  for (Wire* wire : {&first, &second}) {
    wire->send("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
    EXPECT_EQ(wire->read().value_or(Answer{}).status, 200);
  }
  Wire third(gateway.port());
  const auto answer = third.read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 503);
  EXPECT_EQ(answer->code(), "overloaded");
}

TEST(DoorLimitsTest, WithoutADatabaseRequestsGet503) {
  RunningGateway gateway([](base::Settings& settings) { settings.database.url = "postgresql:///nothing?host=/nonexistent"; });
  Call request;
  request.path = "/v1/files";
  request.key = "sk-ft-any";
  const Answer answer = call(gateway.port(), request);
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.header("retry-after"), "1");
  EXPECT_EQ(answer.header("x-should-retry"), "true");
  request.path = "/readyz";
  const Answer ready = call(gateway.port(), request);
  EXPECT_EQ(ready.status, 503);
  const auto checks = ready.json();
  EXPECT_EQ(checks.at("checks").at("postgresql"), "unavailable");
  EXPECT_EQ(checks.at("checks").at("redis"), "ok");
  request.path = "/healthz";
  EXPECT_EQ(call(gateway.port(), request).status, 200);
}

}  // namespace
}  // namespace finetuned::tests
