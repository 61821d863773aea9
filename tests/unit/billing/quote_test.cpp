#include "billing/quote.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

namespace finetuned {
namespace {

TEST(TokensUnderCut, TakesEachRowUpToTheCut) {
  const std::vector<std::uint32_t> rows{1, 10, 11, 4'000'000'000u};
  EXPECT_EQ(billing::tokens_under_cut(rows, 10), 1 + 10 + 10 + 10);
  EXPECT_EQ(billing::tokens_under_cut(rows, std::int64_t{1} << 40), 22 + 4'000'000'000);
  EXPECT_EQ(billing::tokens_under_cut({}, 10), 0);
}

TEST(TokensUnderCut, GrowsWithTheCutUpToTheSum) {
  std::mt19937 random(7);
  std::vector<std::uint32_t> rows(200);
  for (auto& row : rows) row = random() % 1000;
  const std::int64_t whole = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  std::int64_t before = 0;
  for (std::int64_t cut = 1; cut <= 1000; cut += 37) {
    const std::int64_t now = billing::tokens_under_cut(rows, cut);
    EXPECT_GE(now, before);
    EXPECT_LE(now, whole);
    before = now;
  }
  EXPECT_EQ(billing::tokens_under_cut(rows, 1000), whole);
}

TEST(Price, IncrementsSumToTheWhole) {
  std::mt19937 random(11);
  for (const std::int64_t nano_per_1k : {1'000'000, 1, 333, 999, 1500}) {
    std::int64_t cumulative = 0, charged = 0;
    for (int i = 0; i < 500; ++i) {
      const std::int64_t next = cumulative + random() % 5000;
      charged += base::price_of(next, nano_per_1k).value - base::price_of(cumulative, nano_per_1k).value;
      cumulative = next;
    }
    EXPECT_EQ(charged, base::price_of(cumulative, nano_per_1k).value);
  }
}

}  // namespace
}  // namespace finetuned
