#include "services/gateway/token_bucket.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "services/gateway/rate_limiter.h"

namespace finetuned::gateway {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

base::ManualClock manual_clock() { return base::ManualClock(std::chrono::system_clock::time_point{}); }

TEST(TokenBucket, GivesWhatComesBackAndNoMoreThanItHolds) {
  base::ManualClock clock = manual_clock();
  TokenBucket bucket(60, seconds(60), clock.monotonic());
  bucket.take(60, clock.monotonic());
  EXPECT_FALSE(bucket.has(1, clock.monotonic()));
  EXPECT_EQ(bucket.wait_for(1, clock.monotonic()), milliseconds(1000));
  clock.advance(milliseconds(999));
  EXPECT_FALSE(bucket.has(1, clock.monotonic()));
  EXPECT_EQ(bucket.wait_for(1, clock.monotonic()), milliseconds(1));
  clock.advance(milliseconds(1));
  EXPECT_TRUE(bucket.has(1, clock.monotonic()));
  EXPECT_FALSE(bucket.has(2, clock.monotonic()));
  clock.advance(std::chrono::hours(1));
  EXPECT_DOUBLE_EQ(bucket.tokens(clock.monotonic()), 60);
  bucket.put_back(5, clock.monotonic());
  EXPECT_DOUBLE_EQ(bucket.tokens(clock.monotonic()), 60);
}

TEST(TokenBucket, CountsATokenThatCameBackInAThousandParts) {
  base::ManualClock clock = manual_clock();
  TokenBucket bucket(7, seconds(60), clock.monotonic());
  bucket.take(7, clock.monotonic());
  for (int i = 0; i < 1000; ++i) {
    clock.advance(std::chrono::microseconds(60'000'000 / 1000));
    bucket.set(bucket.tokens(clock.monotonic()), clock.monotonic());
  }
  EXPECT_TRUE(bucket.has(7, clock.monotonic()));
}

TEST(TokenBucket, DoesNotMindAnEarlierTime) {
  base::ManualClock clock = manual_clock();
  const auto before = clock.monotonic();
  clock.advance(seconds(30));
  TokenBucket bucket(60, seconds(60), clock.monotonic());
  bucket.take(60, clock.monotonic());
  EXPECT_DOUBLE_EQ(bucket.tokens(before), 0);
  bucket.take(0, before);
  EXPECT_DOUBLE_EQ(bucket.tokens(clock.monotonic()), 0) << "and gives nothing for it twice";
}

TEST(TokenBucket, OfNothingNeverHasAny) {
  base::ManualClock clock = manual_clock();
  TokenBucket bucket(0, seconds(60), clock.monotonic());
  clock.advance(std::chrono::hours(1));
  EXPECT_FALSE(bucket.has(1, clock.monotonic()));
  EXPECT_GE(bucket.wait_for(1, clock.monotonic()), seconds(60));
}

/// No Redis is there at all.
class LimiterAlone : public testing::Test {
 protected:
  base::ManualClock clock = manual_clock();
  RateLimiter limiter{{.socket = "/nonexistent/redis.sock", .host = ""}, clock};
  RateLimitRule key{"key:a", 3, seconds(60)}, project{"project:p", 4, seconds(60)};
};

TEST_F(LimiterAlone, LimitsWithoutRedis) {
  for (int left = 2; left >= 0; --left) {
    const RateOutcome outcome = limiter.take({key}, 1);
    EXPECT_FALSE(outcome.refused);
    EXPECT_EQ(outcome.views.at(0).remaining, left);
    EXPECT_EQ(outcome.views.at(0).limit, 3);
    EXPECT_EQ(outcome.views.at(0).reset, seconds(20 * (3 - left)));
  }
  const RateOutcome refused = limiter.take({key}, 1);
  EXPECT_EQ(refused.refused, 0u);
  EXPECT_EQ(refused.retry, seconds(20));
  clock.advance(seconds(20));
  EXPECT_FALSE(limiter.take({key}, 1).refused);
  EXPECT_TRUE(limiter.take({key}, 1).refused);
}

TEST_F(LimiterAlone, TakesOfAllBucketsOrOfNone) {
  const RateLimitRule other{"key:b", 3, seconds(60)};
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(limiter.take({key, project}, 1).refused);
  EXPECT_EQ(limiter.take({key, project}, 1).refused, 0u) << "its own is empty";
  EXPECT_FALSE(limiter.take({other, project}, 1).refused) << "the refused request took nothing of the project's";
  const RateOutcome shared = limiter.take({other, project}, 1);
  EXPECT_EQ(shared.refused, 1u);
  EXPECT_EQ(shared.views.at(0).remaining, 2);
  EXPECT_EQ(shared.views.at(1).remaining, 0);
}

TEST_F(LimiterAlone, LooksWithoutTaking) {
  for (int i = 0; i < 5; ++i) EXPECT_EQ(limiter.take({key}, 0).views.at(0).remaining, 3);
}

TEST_F(LimiterAlone, KeepsWhatWasUsedWhenALimitChanges) {
  limiter.take({key}, 2);
  key.capacity = 10;
  EXPECT_EQ(limiter.take({key}, 0).views.at(0).remaining, 8);
  key.capacity = 2;
  EXPECT_TRUE(limiter.take({key}, 1).refused);
}

TEST_F(LimiterAlone, KeepsABoundedNumberOfBuckets) {
  limiter.take({key}, 3);
  for (std::size_t i = 0; i < RateLimiter::kMostBuckets - 1; ++i) limiter.take({{"key:" + std::to_string(i), 1, seconds(60)}}, 0);
  EXPECT_EQ(limiter.take({key}, 0).views.at(0).remaining, 0);
  clock.advance(std::chrono::milliseconds(1));
  EXPECT_FALSE(limiter.take({{"key:one more", 1, seconds(60)}}, 1).refused) << "a bucket that is unused makes room";
  EXPECT_TRUE(limiter.take({key}, 3).refused);
}

TEST(RateDuration, ReadsAsInOpenAIsHeaders) {
  EXPECT_EQ(rate_duration(milliseconds(0)), "0s");
  EXPECT_EQ(rate_duration(milliseconds(20)), "20ms");
  EXPECT_EQ(rate_duration(milliseconds(6000)), "6s");
  EXPECT_EQ(rate_duration(milliseconds(8640)), "8.64s");
  EXPECT_EQ(rate_duration(milliseconds(90'005)), "1m30.005s");
  EXPECT_EQ(rate_duration(milliseconds(86'400'000)), "24h0m0s");
}

}  // namespace
}  // namespace finetuned::gateway
