#include <chrono>

#include "tests/integration/gateway/running_gateway.h"

namespace finetuned::tests {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

/// An upload's bytes.
std::string upload_of(const Tenant& tenant, std::size_t size) {
  Call request;
  request.method = "POST";
  request.path = "/v1/files";
  request.key = tenant.key;
  request.content_type = kMultipart;
  request.body = multipart({field_part("purpose", "fine-tune"), file_part("a.jsonl", std::string(size, 'x'))});
  return to_bytes(request);
}

TEST(Drain, AnIdleGatewayEndsAtOnce) {
  RunningGateway gateway;
  Wire idle(gateway.port());
  idle.send("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
  EXPECT_EQ(idle.read().value_or(Answer{}).status, 200);
  const auto begin = Steady::now();
  EXPECT_TRUE(gateway.wait());
  EXPECT_LT(Steady::now() - begin, milliseconds(2000));
  EXPECT_TRUE(idle.closes_within(milliseconds(1000)));
}

TEST(Drain, ARequestInFlightIsAnsweredAndNewOnesAreNotTaken) {
  RunningGateway gateway;
  const Tenant tenant = make_tenant();
  const std::string bytes = upload_of(tenant, 200'000);
  Wire wire(gateway.port());
  wire.send(bytes.substr(0, 100'000));
  while (gateway.stored_objects() == 0) std::this_thread::sleep_for(milliseconds(5));
  gateway.stop();
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_THROW(Wire(gateway.port()), std::runtime_error);
  wire.send(bytes.substr(100'000));
  const auto answer = wire.read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200) << answer->body;
  EXPECT_EQ(answer->header("connection"), "close");
  EXPECT_TRUE(gateway.wait());
}

TEST(Drain, TheDeadlineCutsWhatIsLeftAndItLeavesNothing) {
  RunningGateway gateway([](base::Settings& settings) { settings.gateway.drain_seconds = 1; });
  const Tenant tenant = make_tenant();
  const std::string bytes = upload_of(tenant, 200'000);
  Wire wire(gateway.port());
  wire.send(bytes.substr(0, 100'000));
  while (gateway.stored_objects() == 0) std::this_thread::sleep_for(milliseconds(5));
  const auto begin = Steady::now();
  EXPECT_FALSE(gateway.wait());
  EXPECT_LT(Steady::now() - begin, milliseconds(4000));
  EXPECT_EQ(gateway.stored_objects(), 0u);
}

}  // namespace
}  // namespace finetuned::tests
