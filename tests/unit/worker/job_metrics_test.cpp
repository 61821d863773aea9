#include "services/worker/job_metrics.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <limits>

namespace finetuned::worker {
namespace {

training::StepMetrics step_at(std::int64_t step, double seconds) {
  training::StepMetrics metrics;
  metrics.step = step;
  metrics.total_steps = 10;
  metrics.train_loss = 1.25;
  metrics.seconds = seconds;
  return metrics;
}

TEST(JobMetrics, LeavesOutWhatWasNotMeasured) {
  auto step = step_at(3, 0.5);
  auto data = event_metrics(step);
  EXPECT_EQ(data.at("step").as_int64(), 3);
  EXPECT_EQ(data.at("total_steps").as_int64(), 10);
  EXPECT_DOUBLE_EQ(data.at("train_loss").as_double(), 1.25);
  EXPECT_FALSE(data.contains("valid_loss"));
  EXPECT_FALSE(data.contains("gemm_share"));
  step.valid_loss = 2.0;
  step.full_valid_loss = 2.5;
  step.gemm_share = 0.75;
  step.memory_bytes = 1'000;
  data = event_metrics(step);
  EXPECT_DOUBLE_EQ(data.at("gemm_share").as_double(), 0.75);
  EXPECT_EQ(data.at("memory_bytes").to_number<std::int64_t>(), 1'000);
  EXPECT_DOUBLE_EQ(data.at("valid_loss").as_double(), 2.0);
  EXPECT_DOUBLE_EQ(checkpoint_metrics(step).at("full_valid_loss").as_double(), 2.5);
  EXPECT_EQ(step_message(step), "Step 3/10: training loss=1.2500, full validation loss=2.5000");
}

TEST(JobMetrics, WritesJsonWhateverTheNumbersAre) {
  auto step = step_at(1, 0);
  step.train_loss = std::numeric_limits<double>::quiet_NaN();
  step.grad_norm = std::numeric_limits<double>::infinity();
  const auto data = event_metrics(step);
  EXPECT_TRUE(data.at("train_loss").is_null());
  EXPECT_NO_THROW(base::parse_json(boost::json::serialize(data)));
}

TEST(Pace, EstimatesFromWhatTheStepsTook) {
  Pace pace;
  EXPECT_FALSE(pace.left());
  pace.add(step_at(1, 2.0));
  EXPECT_DOUBLE_EQ(pace.left()->count(), 18.0);
  for (int i = 2; i <= 9; ++i) pace.add(step_at(i, 2.0));
  EXPECT_DOUBLE_EQ(pace.left()->count(), 2.0);
  pace.add(step_at(10, 2.0));
  EXPECT_DOUBLE_EQ(pace.left()->count(), 0.0);
}

}  // namespace
}  // namespace finetuned::worker
