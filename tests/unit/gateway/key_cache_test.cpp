#include "services/gateway/key_cache.h"

#include <gtest/gtest.h>

namespace finetuned::gateway {
namespace {

class KeyCacheTest : public testing::Test {
 protected:
  void remember(const std::string& sha256, const std::optional<Principal>& principal) {
    cache.remember(sha256, principal, cache.begin(sha256));
  }
  base::ManualClock clock{std::chrono::system_clock::time_point{}};
  KeyCache cache{clock};
  Principal someone{.admin = false, .key_id = "key-a", .project_id = "proj-a", .organization_id = "org-a", .organization_name = "a"};
};

TEST_F(KeyCacheTest, AnAnswerLivesFromTheBeginningOfItsLookUp) {
  EXPECT_FALSE(cache.find("a").known);
  const auto begun = cache.begin("a");
  clock.advance(std::chrono::milliseconds(100));
  cache.remember("a", someone, begun);
  EXPECT_EQ(cache.find("a").principal->key_id, "key-a");
  clock.advance(KeyCache::kLifetime - std::chrono::milliseconds(101));
  EXPECT_TRUE(cache.find("a").known);
  clock.advance(std::chrono::milliseconds(1));
  EXPECT_FALSE(cache.find("a").known);
}

TEST_F(KeyCacheTest, RemembersWhatOpensNothing) {
  remember("a", std::nullopt);
  EXPECT_TRUE(cache.find("a").known);
  EXPECT_FALSE(cache.find("a").principal);
  remember("a", someone);
  EXPECT_TRUE(cache.find("a").principal);
}

TEST_F(KeyCacheTest, ALookUpAcrossAChangeIsNotKept) {
  remember("a", someone);
  const auto begun = cache.begin("b");
  cache.forget_all();
  cache.remember("b", someone, begun);
  EXPECT_FALSE(cache.find("a").known);
  EXPECT_FALSE(cache.find("b").known);
}

TEST_F(KeyCacheTest, OneLooksUpAgainBeforeAnAnswerEndsAndTheOthersGoOn) {
  remember("a", someone);
  EXPECT_FALSE(cache.find("a").due);
  clock.advance(KeyCache::kRenewal);
  EXPECT_TRUE(cache.find("a").due);
  const auto begun = cache.begin("a");
  EXPECT_TRUE(cache.find("a").known);
  EXPECT_FALSE(cache.find("a").due) << "someone looks it up";
  clock.advance(std::chrono::milliseconds(50));
  cache.remember("a", someone, begun);
  clock.advance(KeyCache::kRenewal - std::chrono::milliseconds(51));
  EXPECT_FALSE(cache.find("a").due) << "its time counts from where the look-up began";
  clock.advance(std::chrono::milliseconds(1));
  EXPECT_TRUE(cache.find("a").due);
}

TEST_F(KeyCacheTest, AnAnswerEndsThoughItsRenewalDoesNot) {
  remember("a", someone);
  clock.advance(KeyCache::kRenewal);
  cache.begin("a");
  clock.advance(KeyCache::kLifetime - KeyCache::kRenewal);
  EXPECT_FALSE(cache.find("a").known);
}

TEST_F(KeyCacheTest, GuessesPushNoKeyOut) {
  remember("a", someone);
  for (std::size_t i = 0; i < 3 * KeyCache::kMostKeys; ++i) remember("guess" + std::to_string(i), std::nullopt);
  EXPECT_TRUE(cache.find("a").known);
  EXPECT_FALSE(cache.find("guess0").known) << "and are bounded themselves";
}

}  // namespace
}  // namespace finetuned::gateway
