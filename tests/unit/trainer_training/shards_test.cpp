#include "trainer/training/shards.h"

#include <gtest/gtest.h>
#include <numeric>

namespace finetuned::training {
namespace {

std::vector<text::TokenRow> rows_of(const std::vector<std::size_t>& sizes) {
  std::vector<text::TokenRow> rows;
  for (const std::size_t size : sizes)
    rows.push_back({std::vector<std::int32_t>(size, 1), std::vector<std::int32_t>(size, 1)});
  return rows;
}

std::vector<std::int64_t> all_of(const std::vector<text::TokenRow>& rows) {
  std::vector<std::int64_t> chosen(rows.size());
  std::iota(chosen.begin(), chosen.end(), 0);
  return chosen;
}

TEST(Shards, AreAsManyAsTokensAndRowsAllow) {
  EXPECT_EQ(shard_count(1, 1), 1);
  EXPECT_EQ(shard_count(2047, 100), 1);
  EXPECT_EQ(shard_count(2048, 100), 2);
  EXPECT_EQ(shard_count(1'000'000, 100), 8);
  EXPECT_EQ(shard_count(1'000'000, 3), 3);
}

TEST(Shards, KeepTheRowsOrderAndAreBalanced) {
  const auto even = rows_of(std::vector<std::size_t>(16, 512));
  const auto shards = cut_into_shards(even, all_of(even));
  ASSERT_EQ(shards.size(), 8u);
  for (std::size_t i = 0; i < shards.size(); ++i)
    EXPECT_EQ(shards[i], (std::vector<std::int64_t>{static_cast<std::int64_t>(2 * i),
                                                    static_cast<std::int64_t>(2 * i + 1)}));
}

TEST(Shards, NoneIsEmptyHoweverUnevenTheRowsAre) {
  for (const auto& sizes : std::vector<std::vector<std::size_t>>{{4000, 2, 2},
                                                                 {2, 2, 4000},
                                                                 {2, 4000, 2, 2, 2, 2, 2, 2, 2, 2},
                                                                 {2, 2, 2, 2, 2, 2, 2, 2, 2, 8000},
                                                                 {1200, 1200},
                                                                 {5}}) {
    const auto rows = rows_of(sizes);
    std::vector<std::int64_t> joined;
    for (const auto& shard : cut_into_shards(rows, all_of(rows))) {
      EXPECT_FALSE(shard.empty());
      joined.insert(joined.end(), shard.begin(), shard.end());
    }
    EXPECT_EQ(joined, all_of(rows));
  }
}

TEST(Shards, AreDealtInOrderAndAllOfThem) {
  for (int workers = 1; workers <= 8; ++workers) {
    for (std::int64_t shards = 1; shards <= 8; ++shards) {
      std::int64_t next = 0;
      for (int rank = 0; rank < workers; ++rank) {
        const ShardRange range = shards_of(rank, workers, shards);
        EXPECT_EQ(range.first, next);
        EXPECT_LE(range.end - range.first, (shards + workers - 1) / workers);
        next = range.end;
      }
      EXPECT_EQ(next, shards);
    }
  }
}

}  // namespace
}  // namespace finetuned::training
