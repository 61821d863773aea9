#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "base/json.h"
#include "services/webhooks/signature.h"
#include "tests/integration/webhooks/webhooks_fixture.h"

namespace finetuned::webhooks {
namespace {

using storage::JobLeases;

class DelivererTest : public WebhooksTest {};

TEST_F(DelivererTest, ACancelledJobIsToldOnceAndTheSignatureHolds) {
  const std::string endpoint = add_endpoint(receiver_->url("/ok?x=1"));
  const std::string job = cancelled_job();
  Deliverer deliverer(tests::pool(), key_, options());
  EXPECT_TRUE(deliverer.deliver_one());
  EXPECT_FALSE(deliverer.deliver_one());
  const auto requests = receiver_->requests();
  ASSERT_EQ(requests.size(), 1u) << delivery(endpoint).last_error.value_or("");
  const auto& request = requests[0];
  EXPECT_EQ(request.path, "/ok?x=1");
  EXPECT_EQ(request.headers.at("content-type"), "application/json");
  const std::string& id = request.headers.at("webhook-id");
  const std::int64_t timestamp = std::stoll(request.headers.at("webhook-timestamp"));
  EXPECT_NEAR(static_cast<double>(timestamp), static_cast<double>(std::time(nullptr)), 30);
  EXPECT_EQ(request.headers.at("webhook-signature"), signature(secret_, id, timestamp, request.body));
  const auto body = base::parse_json(request.body);
  EXPECT_EQ(body.at("id").as_string(), id);
  EXPECT_TRUE(id.starts_with("evt_"));
  EXPECT_EQ(body.at("object"), "event");
  EXPECT_EQ(body.at("type"), "fine_tuning.job.cancelled");
  EXPECT_GT(body.at("created_at").as_int64(), 1'700'000'000);
  EXPECT_EQ(body.at("data").at("id").as_string(), job);
  const auto row = delivery(endpoint);
  EXPECT_EQ(row.state, "delivered");
  EXPECT_EQ(row.event_id, id);
  EXPECT_EQ(row.attempts, 1);
  EXPECT_EQ(row.last_status, 200);
  EXPECT_EQ(row.last_answer, "?thanks?");
  EXPECT_FALSE(row.last_error);
  EXPECT_FALSE(row.next_attempt_at);
  EXPECT_TRUE(row.delivered_at);
}

TEST_F(DelivererTest, EveryEndingQueuesForTheEndpointsThatAsked) {
  const std::string all = add_endpoint(receiver_->url("/all"));
  const std::string failures = add_endpoint(receiver_->url("/failures"), {"fine_tuning.job.failed"});
  const std::string off = add_endpoint(receiver_->url("/off"));
  system("UPDATE webhook_endpoint SET enabled = false, disabled_reason = 'test' WHERE id = $1", {off});
  system("UPDATE job SET state = 'cancelled', lease_until = NULL, finished_at = clock_timestamp() WHERE finished_at IS NULL");
  const auto claim = [&](std::int64_t seconds) {
    add_job();
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) { return JobLeases(tx).claim("w", seconds)->lease; });
  };
  const auto newest = [&](const std::string& id) { return deliveries(id).at(0).type; };
  const auto count_before = deliveries(all).size();
  auto lease = claim(60);
  tests::pool().transact(Scope::system(), [&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).succeed(lease, "ft:x", {}, 5)); });
  EXPECT_EQ(newest(all), "fine_tuning.job.succeeded");
  lease = claim(60);
  tests::pool().transact(Scope::system(), [&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).fail(lease, {"c", "m", {}})); });
  EXPECT_EQ(newest(all), "fine_tuning.job.failed");
  lease = claim(60);
  tests::pool().transact(Scope::system(), [&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).finish_cancelled(lease)); });
  EXPECT_EQ(newest(all), "fine_tuning.job.cancelled");
  claim(0);
  tests::pool().transact(Scope::system(), [&](Transaction& tx) { JobLeases(tx).sweep(1, 100); });
  EXPECT_EQ(newest(all), "fine_tuning.job.failed");
  const std::string waiting = add_job();
  tests::pool().transact(Scope::system(),
                         [&](Transaction& tx) { storage::JobStore(tx).fail_before_start(waiting, {"c", "m", {}}); });
  EXPECT_EQ(deliveries(all).size(), count_before + 5);
  EXPECT_EQ(deliveries(failures).size(), 3u);
  EXPECT_TRUE(deliveries(off).empty());
}

TEST_F(DelivererTest, AnEndingThatIsRolledBackOrOfAnotherProjectTellsNothing) {
  const std::string endpoint = add_endpoint(receiver_->url("/ok"));
  const std::string job = add_job();
  EXPECT_THROW(tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
    storage::JobStore(tx).request_cancel(job);
    throw std::runtime_error("rolled back");
  }), std::runtime_error);
  const auto mine = project_;
  project_ = tests::make_project(tests::pool());
  tests::give_credit(tests::pool(), project_, 1'000'000'000);
  cancelled_job();
  project_ = mine;
  EXPECT_TRUE(deliveries(endpoint).empty());
}

TEST_F(DelivererTest, TriesAgainAfter500UnderTheSameId) {
  const std::string endpoint = add_endpoint(receiver_->url("/broken-once"));
  cancelled_job();
  Deliverer deliverer(tests::pool(), key_, options());
  ASSERT_TRUE(deliverer.deliver_one());
  auto row = delivery(endpoint);
  EXPECT_EQ(row.state, "pending");
  EXPECT_EQ(row.last_status, 500);
  EXPECT_EQ(row.last_error, "it answered 500");
  EXPECT_FALSE(deliverer.deliver_one()) << "the next try waits";
  EXPECT_TRUE(system("SELECT 1 FROM webhook_delivery WHERE next_attempt_at > clock_timestamp() + interval '1 second'"
                     " AND next_attempt_at < clock_timestamp() + interval '6 seconds'").size() == 1);
  make_due();
  ASSERT_TRUE(deliverer.deliver_one());
  row = delivery(endpoint);
  EXPECT_EQ(row.state, "delivered");
  EXPECT_EQ(row.attempts, 2);
  const auto requests = receiver_->requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].headers.at("webhook-id"), requests[1].headers.at("webhook-id"));
  EXPECT_EQ(requests[0].body, requests[1].body);
}

TEST_F(DelivererTest, GivesUpADayAfterTheEvent) {
  const std::string endpoint = add_endpoint(receiver_->url("/broken"));
  cancelled_job();
  system("UPDATE webhook_delivery SET created_at = clock_timestamp() - interval '23 hours 59 minutes 59 seconds'");
  Deliverer deliverer(tests::pool(), key_, options());
  ASSERT_TRUE(deliverer.deliver_one());
  const auto row = delivery(endpoint);
  EXPECT_EQ(row.state, "given_up");
  EXPECT_EQ(row.last_status, 500);
  EXPECT_FALSE(row.next_attempt_at);
}

TEST_F(DelivererTest, WhatNobodyTriedForADayIsGivenUpAndForgottenAfterAWeek) {
  const std::string endpoint = add_endpoint(receiver_->url("/ok"));
  cancelled_job();
  Deliverer deliverer(tests::pool(), key_, options());
  system("UPDATE webhook_delivery SET created_at = clock_timestamp() - interval '25 hours'");
  EXPECT_FALSE(deliverer.deliver_one());
  deliverer.tidy();
  EXPECT_EQ(delivery(endpoint).state, "given_up");
  EXPECT_TRUE(delivery(endpoint).last_error);
  system("UPDATE webhook_delivery SET created_at = clock_timestamp() - interval '6 days 23 hours'");
  deliverer.tidy();
  EXPECT_EQ(deliveries(endpoint).size(), 1u);
  system("UPDATE webhook_delivery SET created_at = clock_timestamp() - interval '7 days 1 hour'");
  deliverer.tidy();
  EXPECT_TRUE(deliveries(endpoint).empty());
  EXPECT_TRUE(receiver_->requests().empty());
}

TEST_F(DelivererTest, TwoAtOnceDeliverEachOnce) {
  const std::string endpoint = add_endpoint(receiver_->url("/ok"));
  constexpr std::size_t kEvents = 20;
  for (std::size_t i = 0; i < kEvents; ++i) cancelled_job();
  {
    const auto other = tests::make_pool(4);
    Deliverer first(tests::pool(), key_, options()), second(*other, key_, options());
    std::jthread one([&](const std::stop_token& stop) { first.run(stop); });
    std::jthread two([&](const std::stop_token& stop) { second.run(stop); });
    EXPECT_TRUE(tests::eventually([&] {
      return system("SELECT 1 FROM webhook_delivery WHERE state = 'delivered'").size() == kEvents;
    }));
    one.request_stop();
    two.request_stop();
    one.join();
    two.join();
  }
  std::set<std::string> ids;
  const auto requests = receiver_->requests();
  for (const auto& request : requests) ids.insert(request.headers.at("webhook-id"));
  EXPECT_EQ(requests.size(), kEvents);
  EXPECT_EQ(ids.size(), kEvents);
  for (const auto& row : deliveries(endpoint)) EXPECT_EQ(row.attempts, 1);
}

TEST_F(DelivererTest, WhatAKilledProcessHadInFlightIsDeliveredLater) {
  const std::string endpoint = add_endpoint(receiver_->url("/slow-once"));
  cancelled_job();
  const pid_t child = ::fork();
  if (child == 0) {
    const auto own = tests::make_pool(1);
    Deliverer(*own, key_, options()).deliver_one();
    ::_exit(0);
  }
  EXPECT_TRUE(tests::eventually([&] { return receiver_->requests().size() == 1; }));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  Deliverer deliverer(tests::pool(), key_, options());
  EXPECT_FALSE(deliverer.deliver_one()) << "its lease still holds";
  system("UPDATE webhook_delivery SET lease_until = clock_timestamp() - interval '1 second'");
  EXPECT_TRUE(deliverer.deliver_one());
  EXPECT_EQ(delivery(endpoint).state, "delivered");
  EXPECT_EQ(delivery(endpoint).attempts, 2);
  const auto requests = receiver_->requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].headers.at("webhook-id"), requests[1].headers.at("webhook-id"));
}

TEST_F(DelivererTest, AStaleLeaseWritesNothing) {
  const std::string endpoint = add_endpoint(receiver_->url("/ok"));
  cancelled_job();
  const auto stale = tests::pool().transact(
      Scope::system(), [](Transaction& tx) { return *storage::WebhookLeases(tx).claim({.lease_seconds = 0}); });
  const auto record = [&] {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      storage::DeliveryOutcome outcome;
      outcome.delivered = true;
      return storage::WebhookLeases(tx).record(stale, outcome);
    });
  };
  EXPECT_FALSE(record());
  const auto fresh =
      tests::pool().transact(Scope::system(), [](Transaction& tx) { return storage::WebhookLeases(tx).claim({}); });
  ASSERT_TRUE(fresh);
  EXPECT_EQ(fresh->epoch, stale.epoch + 1);
  EXPECT_FALSE(record());
  EXPECT_EQ(delivery(endpoint).state, "pending");
}

TEST_F(DelivererTest, ASlowEndpointHoldsUpNoOther) {
  const std::string slow = add_endpoint(receiver_->url("/slow"));
  for (int i = 0; i < 6; ++i) cancelled_job();
  const std::string quick = add_endpoint(receiver_->url("/ok"), {"fine_tuning.job.cancelled"});
  cancelled_job();
  DelivererOptions few = options();
  few.threads = 4;
  Deliverer deliverer(tests::pool(), key_, few);
  std::jthread role([&](const std::stop_token& stop) { deliverer.run(stop); });
  EXPECT_TRUE(tests::eventually([&] { return delivery(quick).state == "delivered"; }, 3));
  EXPECT_EQ(system("SELECT 1 FROM webhook_delivery WHERE endpoint_id = $1 AND lease_until > clock_timestamp()", {slow}).size(),
            2u);
}

}  // namespace
}  // namespace finetuned::webhooks
