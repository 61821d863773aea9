#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "base/clock.h"
#include "base/ids.h"
#include "services/gateway/rate_limiter.h"
#include "tests/integration/gateway/admin_fixture.h"
#include "tests/integration/support/private_redis.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

using namespace std::chrono_literals;
using gateway::RateLimiter;
using gateway::RateLimitRule;
using testing::HasSubstr;

RateLimitRule fresh_rule(std::int64_t capacity, std::chrono::milliseconds window = 60min) {
  return {"test:" + base::make_id("rule"), capacity, window};
}

/// So many of `most` takes of one that pass.
int passed(RateLimiter& limiter, const RateLimitRule& rule, int most) {
  int count = 0;
  for (int i = 0; i < most; ++i) count += !limiter.take({rule}, 1).refused;
  return count;
}

TEST(RateLimiterTest, TwoGatewaysNeverPassMoreThanTheLimitTogether) {
  const base::SystemClock clock;
  RateLimiter one(redis_address(), clock), two(redis_address(), clock);
  const RateLimitRule rule = fresh_rule(200);
  std::atomic<int> total = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&, i] { total += passed(i % 2 == 0 ? one : two, rule, 150); });
  }
  // An hour's window brings one token back each 18 s. Whoever finds the bucket empty may leave a lease with the other.
  EXPECT_GE(total, 190);
  EXPECT_LE(total, 202);
}

TEST(RateLimiterTest, ALeaseThatWasNotSpentIsReturned) {
  base::ManualClock clock{std::chrono::system_clock::time_point{}};  // leases end by the gateway's clock, buckets fill by Redis's
  RateLimiter one(redis_address(), clock), two(redis_address(), clock);
  const RateLimitRule rule = fresh_rule(100);
  for (int i = 0; i < 20; ++i) {
    EXPECT_FALSE(one.take({rule}, 1).refused);
    clock.advance(1s);
  }
  const auto view = one.take({rule}, 1).views.at(0);
  EXPECT_EQ(view.remaining, 79) << "a lease of five a second, of which one is spent each time";
  EXPECT_EQ(passed(two, rule, 100), 75) << "the last lease's four lie with the other";
}

TEST(RateLimiterTest, MoreThanALeaseIsTakenAtOnce) {
  const base::SystemClock clock;
  RateLimiter limiter(redis_address(), clock);
  const RateLimitRule rule = fresh_rule(1000);
  EXPECT_FALSE(limiter.take({rule}, 700).refused);
  const auto refused = limiter.take({rule}, 400);
  EXPECT_TRUE(refused.refused);
  EXPECT_NEAR(static_cast<double>(refused.retry.count()), 100.0 * 3600, 10'000);
  EXPECT_FALSE(limiter.take({rule}, 300).refused) << "the refused one took nothing";
}

TEST(RateLimiterTest, WhatWasNotUsedCanBeTakenAgainAndWhatWasUsedBesidesIsOwed) {
  const base::SystemClock clock;
  RateLimiter limiter(redis_address(), clock), other(redis_address(), clock);
  const RateLimitRule rule = fresh_rule(1000);
  EXPECT_FALSE(limiter.take({rule}, 900).refused);
  limiter.settle({rule}, -800);
  EXPECT_FALSE(limiter.take({rule}, 900).refused) << "100 were used";
  limiter.settle({rule}, -900);
  EXPECT_FALSE(limiter.take({rule}, 10).refused);
  limiter.settle({rule}, 500);
  EXPECT_TRUE(limiter.take({rule}, 500).refused) << "610 were used";
  EXPECT_TRUE(other.take({rule}, 500).refused) << "the others know by now";
  EXPECT_FALSE(limiter.take({rule}, 380).refused);
}

TEST(RateLimiterTest, LimitsStillHoldWhenRedisIsKilledAndComesBackEmpty) {
  PrivateRedis redis;
  const base::SystemClock clock;
  RateLimiter limiter(redis.address(), clock);
  const RateLimitRule rule = fresh_rule(40);
  EXPECT_EQ(passed(limiter, rule, 25), 25);
  redis.kill_hard();
  EXPECT_EQ(passed(limiter, rule, 40), 15) << "from what was known last";
  redis.start();
  std::this_thread::sleep_for(1500ms);
  EXPECT_EQ(passed(limiter, rule, 60), 40) << "Redis decides again; it forgot, as the bucket's size bounds";
}

class RateLimitsTest : public AdminTest {};

TEST_F(RateLimitsTest, EveryAuthenticatedAnswerSaysHowLimitsStand) {
  const Answer answer = get("/v1/models");
  EXPECT_EQ(answer.header("x-ratelimit-limit-requests"), "100000");
  EXPECT_EQ(answer.header("x-ratelimit-remaining-requests"), "99999");
  EXPECT_FALSE(answer.header("x-ratelimit-reset-requests").empty());
  EXPECT_EQ(answer.header("x-ratelimit-limit-tokens"), "1000000");
  EXPECT_EQ(answer.header("x-ratelimit-remaining-tokens"), "1000000");
  EXPECT_EQ(answer.header("x-ratelimit-reset-tokens"), "0s");
  EXPECT_EQ(get("/v1/files/file-none").header("x-ratelimit-limit-requests"), "100000") << "errors too";
  EXPECT_EQ(admin("GET", "/projects").header("x-ratelimit-limit-requests"), "100000");
  EXPECT_EQ(send_as("", "GET", "/v1/models").header("x-ratelimit-limit-requests"), "");
  EXPECT_EQ(send_as("", "GET", "/healthz").header("x-ratelimit-limit-requests"), "");
}

TEST_F(RateLimitsTest, AKeyThatAsksTooOftenIsToldWhenToComeBackWhicheverGatewayItAsks) {
  const auto few = [](base::Settings& settings) { settings.gateway.requests_per_minute_per_key = 3; };
  const RunningGateway one(few), two(few);
  const auto ask = [&](const RunningGateway& which, const std::string& key) {
    Call request;
    request.path = "/v1/models";
    request.key = key;
    return call(which.port(), request);
  };
  EXPECT_EQ(ask(one, tenant_.key).header("x-ratelimit-remaining-requests"), "2");
  EXPECT_EQ(ask(two, tenant_.key).header("x-ratelimit-remaining-requests"), "1");
  EXPECT_EQ(ask(one, tenant_.key).status, 200);
  for (const RunningGateway* which : {&one, &two}) {
    const Answer refused = ask(*which, tenant_.key);
    ASSERT_EQ(refused.status, 429) << refused.body;
    EXPECT_EQ(refused.code(), "rate_limit_exceeded");
    EXPECT_EQ(refused.json().at("error").at("type"), "requests");
    EXPECT_THAT(refused.message(), HasSubstr("on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in "));
    EXPECT_EQ(refused.header("x-should-retry"), "true");
    EXPECT_EQ(refused.header("x-ratelimit-remaining-requests"), "0");
    const int seconds = std::stoi(refused.header("retry-after"));
    EXPECT_TRUE(seconds >= 1 && seconds <= 20) << seconds;
    EXPECT_LE(std::stoi(refused.header("retry-after-ms")), 20'000);
  }
  EXPECT_EQ(ask(one, make_tenant().key).status, 200) << "another's key is not touched";
}

TEST_F(RateLimitsTest, AProjectsKeysShareItsLimit) {
  const RunningGateway gateway([](base::Settings& settings) { settings.gateway.requests_per_minute_per_project = 2; });
  const std::string second = text(done("POST", project("/service_accounts"), R"({"name":"bot"})").at("api_key").at("value"));
  Call request;
  request.path = "/v1/models";
  request.key = tenant_.key;
  EXPECT_EQ(call(gateway.port(), request).status, 200);
  request.key = second;
  EXPECT_EQ(call(gateway.port(), request).status, 200);
  const Answer refused = call(gateway.port(), request);
  EXPECT_EQ(refused.status, 429);
  EXPECT_THAT(refused.message(), HasSubstr("project " + tenant_.project.id));
}

TEST_F(RateLimitsTest, JobsCountAgainstTheirModelsLimitWhichChangesAtOnce) {
  give_credit(pool(), tenant_.project, 1'000'000'000);
  const storage::BaseModel base = make_base_model(pool(), 100);
  const storage::File file = make_counted_file(pool(), tenant_.project, base, std::vector<std::uint32_t>(16, 5));
  const std::string body = R"({"model":")" + base.name + R"(","training_file":")" + file.id + R"("})";
  const std::string path = project("/rate_limits/rl-" + base.name);
  done("POST", path, R"({"max_requests_per_1_minute":1})");
  const Answer first = send("POST", "/v1/fine_tuning/jobs", body);
  EXPECT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(first.header("x-ratelimit-limit-requests"), "1") << "the tighter one";
  const Answer refused = send("POST", "/v1/fine_tuning/jobs", body);
  EXPECT_EQ(refused.status, 429) << refused.body;
  EXPECT_THAT(refused.message(), HasSubstr("model `" + base.name + "`"));
  done("POST", path, R"({"max_requests_per_1_minute":50,"max_requests_per_1_day":0})");
  const Answer never = send("POST", "/v1/fine_tuning/jobs", body);
  EXPECT_EQ(never.status, 429) << never.body;
  EXPECT_THAT(never.message(), HasSubstr("requests per day (RPD)"));
  EXPECT_EQ(never.header("x-should-retry"), "false");
  done("POST", path, R"({"max_requests_per_1_day":10})");
  EXPECT_EQ(send("POST", "/v1/fine_tuning/jobs", body).status, 200);
}

}  // namespace
}  // namespace finetuned::tests
