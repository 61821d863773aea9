#include "trainer/training/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/unit/trainer_formats/temporary_directory.h"
#include "base/files.h"
#include "trainer/training/schedule.h"

namespace finetuned::training {
namespace {

using testing::ElementsAre;

TEST(Batches, TakeEveryRowOnceAnEpoch) {
  Batches batches(10, 4, true, 3);
  EXPECT_EQ(batches.steps_per_epoch(), 3);
  std::vector<std::vector<std::int64_t>> epochs;
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::int64_t> seen;
    for (int step = 1; step <= 3; ++step) {
      const auto& rows = batches.rows_of(epoch * 3 + step);
      EXPECT_EQ(rows.size(), step == 3 ? 2u : 4u);
      seen.insert(seen.end(), rows.begin(), rows.end());
    }
    epochs.push_back(seen);
    std::sort(seen.begin(), seen.end());
    std::vector<std::int64_t> all(10);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(seen, all);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
}

TEST(Batches, AStepIsAFunctionOfItsNumber) {
  Batches forward(20, 3, true, 9), jumping(20, 3, true, 9), other(20, 3, true, 10);
  const std::vector<std::int64_t> late = forward.rows_of(12);
  forward.rows_of(1);
  EXPECT_EQ(jumping.rows_of(12), late);
  EXPECT_EQ(forward.rows_of(12), late);
  EXPECT_NE(other.rows_of(12), late);
}

TEST(Batches, KeepTheFilesOrderWithoutShuffling) {
  Batches batches(5, 2, false, 3);
  EXPECT_THAT(batches.rows_of(1), ElementsAre(0, 1));
  EXPECT_THAT(batches.rows_of(3), ElementsAre(4));
  EXPECT_THAT(batches.rows_of(4), ElementsAre(0, 1));
}

TEST(Batches, MicroBatchesKeepTheBudgets) {
  std::vector<text::TokenRow> rows;
  for (const int size : {5, 3, 8, 2, 2, 2}) rows.push_back({std::vector<std::int32_t>(static_cast<std::size_t>(size)), {}});
  const auto made = micro_batches(rows, {0, 1, 2, 3, 4, 5}, 8, 2);
  EXPECT_THAT(made, ElementsAre(ElementsAre(0, 1), ElementsAre(2), ElementsAre(3, 4), ElementsAre(5)));
  EXPECT_EQ(micro_batches(rows, {0, 1, 2, 3, 4, 5}, 100, 100).size(), 1u);
}

TEST(Schedule, WarmsUpAndGoesDown) {
  RunConfig config;
  config.learning_rate = 1;
  config.warmup_ratio = 0.2;
  config.lr_scheduler = LrScheduler::kLinear;
  EXPECT_EQ(warmup_steps(config, 10), 2);
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 1, 10), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 2, 10), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 3, 10), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 7, 10), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 10, 10), 0.125);
  config.lr_scheduler = LrScheduler::kCosine;
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 7, 10), 0.5);
  config.lr_scheduler = LrScheduler::kConstant;
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 10, 10), 1.0);
  config.warmup_ratio = 1;
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 10, 10), 1.0);
  config.warmup_ratio = 0;
  config.lr_scheduler = LrScheduler::kLinear;
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 1, 1), 1.0);
}

}  // namespace
}  // namespace finetuned::training
