#include <gmock/gmock.h>

#include "storage/job_store.h"
#include "storage/key_store.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/gateway/unread_wire.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

using postgres::Scope;
using postgres::Transaction;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kEnd = "0\r\n\r\n";

class JobStreamTest : public GatewayTest {
 protected:
  JobStreamTest() {
    give_credit(pool(), tenant_.project, 1'000'000'000);
    const Answer created =
        send("POST", "/v1/fine_tuning/jobs", R"({"model":")" + base_.name + R"(","training_file":")" + file_.id + "\"}");
    job_ = text(created.json().at("id"));
  }

  std::string request(const std::string& more = "", const std::string& version = "1.1") {
    return "GET /v1/fine_tuning/jobs/" + job_ + "/stream HTTP/" + version + "\r\nHost: t\r\nAuthorization: Bearer " + tenant_.key + "\r\n" +
           more + "\r\n";
  }
  void say(const std::string& message) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      storage::NewEvent event;
      event.message = message;
      storage::JobStore(tx).append_event(job_, event);
    });
  }
  void cancel() { EXPECT_EQ(send("POST", "/v1/fine_tuning/jobs/" + job_ + "/cancel").status, 200); }

  storage::BaseModel base_ = make_base_model(pool());
  storage::File file_ = make_counted_file(pool(), tenant_.project, base_, std::vector<std::uint32_t>(20, 10));
  std::string job_;
};

TEST_F(JobStreamTest, EventsComeAsTheyHappenAndTheJobAtTheEnd) {
  Wire wire(gateway_->port());
  wire.send(request());
  EXPECT_THAT(wire.read_until("\r\n\r\n"),
              AllOf(HasSubstr("200 OK"), HasSubstr("text/event-stream"), HasSubstr("transfer-encoding: chunked"), Not(HasSubstr("content-length"))));
  EXPECT_THAT(wire.read_until("Created fine-tuning job"), HasSubstr("event: fine_tuning.job.event"));
  say("the first news");
  EXPECT_THAT(wire.read_until("the first news"), HasSubstr("id: ftevent-"));
  say("the second news");
  EXPECT_THAT(wire.read_until("the second news"), Not(HasSubstr("the first news")));
  cancel();
  EXPECT_THAT(wire.read_until(kEnd), AllOf(HasSubstr("event: fine_tuning.job\n"), HasSubstr("\"status\":\"cancelled\""), HasSubstr("data: [DONE]")));
  wire.send("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");  // the connection serves on
  EXPECT_EQ(wire.read().value_or(Answer{}).status, 200);
}

TEST_F(JobStreamTest, GoesOnBehindTheLastEventSeen) {
  say("seen");
  const std::string seen = text(get("/v1/fine_tuning/jobs/" + job_ + "/events?limit=1").json().at("data").at(0).at("id"));
  say("unseen");
  cancel();
  for (const std::string& from : {std::string("Last-Event-ID: " + seen + "\r\n"), std::string()}) {
    Wire wire(gateway_->port());
    wire.send(request(from));
    const std::string all = wire.read_until(kEnd);
    EXPECT_THAT(all, HasSubstr("\"unseen\""));
    EXPECT_EQ(all.find("\"seen\"") == std::string::npos, !from.empty()) << all;
  }
  const Answer refused = send("GET", "/v1/fine_tuning/jobs/" + job_ + "/stream", "", {"Last-Event-ID: ftevent-nothing"});
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.code(), "invalid_cursor");
}

TEST_F(JobStreamTest, HeadOpensNoneAndTheConnectionServesOn) {
  Wire wire(gateway_->port());
  std::string head = request();
  head.replace(0, 3, "HEAD");
  wire.send(head);
  const auto answer = wire.read(true);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_THAT(answer->header("content-type"), HasSubstr("text/event-stream"));
  wire.send("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
  EXPECT_EQ(wire.read().value_or(Answer{}).status, 200);
}

TEST_F(JobStreamTest, AnHttp10ClientReadsToTheConnectionsEnd) {
  cancel();
  Wire wire(gateway_->port());
  wire.send(request("", "1.0"));
  EXPECT_THAT(wire.read_until("data: [DONE]\n\n"), AllOf(HasSubstr("connection: close"), Not(HasSubstr("chunked"))));
  EXPECT_TRUE(wire.closes_within(std::chrono::milliseconds(1000)));
}

TEST_F(JobStreamTest, AnotherProjectsJobIsNotFound) {
  const Tenant other = make_tenant();
  EXPECT_EQ(send_as(other.key, "GET", "/v1/fine_tuning/jobs/" + job_ + "/stream").status, 404);
  EXPECT_EQ(get("/v1/fine_tuning/jobs/ftjob-nothing/stream").status, 404);
}

TEST_F(JobStreamTest, ARevokedKeyReadsNoFurther) {
  Wire wire(gateway_->port());
  wire.send(request());
  wire.read_until("Created fine-tuning job");
  pool().transact(Scope::system(), [&](Transaction& tx) {
    storage::KeyStore keys(tx);
    keys.revoke(keys.authenticate(tenant_.key)->id);
  });
  const auto revoked = std::chrono::steady_clock::now();
  EXPECT_THAT(wire.read_until(kEnd), HasSubstr("invalid_api_key"));
  EXPECT_LT(std::chrono::steady_clock::now() - revoked, std::chrono::seconds(2));
}

/// A stream went on behind the end of its project.
TEST_F(JobStreamTest, AnArchivedProjectsStreamEnds) {
  Wire wire(gateway_->port());
  wire.send(request());
  wire.read_until("Created fine-tuning job");
  EXPECT_EQ(send_as(tenant_.admin_key, "POST", "/v1/organization/projects/" + tenant_.project.id + "/archive").status, 200);
  EXPECT_THAT(wire.read_until(kEnd), HasSubstr("invalid_api_key"));
}

TEST_F(JobStreamTest, AProjectHasSoManyStreamsAndAPlaceIsFreeWhenItsClientGoes) {
  std::vector<Wire> wires;
  for (int i = 0; i < 32; ++i) {
    wires.emplace_back(gateway_->port());
    wires.back().send(request());
    ASSERT_THAT(wires.back().read_until("\r\n\r\n"), HasSubstr("200 OK"));
  }
  const std::string path = "/v1/fine_tuning/jobs/" + job_ + "/stream";
  const Answer refused = get(path);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.code(), "too_many_streams");
  wires.clear();
  cancel();  // so that a stream that is taken ends
  int status = 429;
  for (int tries = 0; status == 429 && tries < 100; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    Wire wire(gateway_->port());
    wire.send(request());
    status = wire.read_until("\r\n\r\n").find("200 OK") != std::string::npos ? 200 : 429;
  }
  EXPECT_EQ(status, 200);
}

/// A new job's id.
std::string job_of(const Tenant& tenant, std::uint16_t port) {
  give_credit(pool(), tenant.project, 1'000'000'000);
  const storage::BaseModel base = make_base_model(pool());
  const storage::File file = make_counted_file(pool(), tenant.project, base, std::vector<std::uint32_t>(20, 10));
  Call create;
  create.method = "POST";
  create.path = "/v1/fine_tuning/jobs";
  create.key = tenant.key;
  create.body = R"({"model":")" + base.name + R"(","training_file":")" + file.id + "\"}";
  return text(call(port, create).json().at("id"));
}

/// What the sockets do not take is not read from the database either, and a client that takes nothing keeps no place.
TEST(JobStreamLimits, ClientsThatNeverReadAreCutOffAndTheirPlacesAreFree) {
  RunningGateway strict([](base::Settings& settings) { settings.gateway.request_timeout_seconds = 1; });
  const Tenant tenant = make_tenant();
  const std::string job = job_of(tenant, strict.port());
  pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("INSERT INTO job_event (id, job_id, project_id, type, level, message) SELECT 'ftevent-' || n || $1, id, project_id,"
               " 'message', 'info', repeat('news ', 4000) FROM job, generate_series(1, 1000) n WHERE id = $1", {job});
  });
  Call read;
  read.path = "/v1/fine_tuning/jobs/" + job + "/stream";
  read.key = tenant.key;
  std::vector<UnreadWire> unread;
  for (int i = 0; i < 32; ++i) {
    unread.emplace_back(strict.port());
    unread.back().send(to_bytes(read));
  }
  const auto status = [&] {
    Wire wire(strict.port());
    wire.send(to_bytes(read));
    return wire.read_until("\r\n\r\n").substr(9, 3);
  };
  EXPECT_TRUE(eventually([&] { return status() == "429"; }, 10));
  EXPECT_TRUE(eventually([&] { return status() == "200"; }, 20));
}

TEST(JobStreamDrain, AnOpenStreamEndsWhenTheGatewayDrains) {
  RunningGateway gateway;
  const Tenant tenant = make_tenant();
  const std::string job = job_of(tenant, gateway.port());
  Wire wire(gateway.port());
  wire.send("GET /v1/fine_tuning/jobs/" + job + "/stream HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer " + tenant.key + "\r\n\r\n");
  wire.read_until("Created fine-tuning job");
  gateway.stop();
  EXPECT_THAT(wire.read_until(kEnd), Not(HasSubstr("[DONE]")));
  EXPECT_TRUE(gateway.wait());
}

}  // namespace
}  // namespace finetuned::tests
