#include "trainer/training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/expects.h"

namespace finetuned::training {

std::int64_t warmup_steps(const RunConfig& config, std::int64_t total_steps) {
  const auto steps = static_cast<std::int64_t>(std::ceil(config.warmup_ratio * static_cast<double>(total_steps)));
  return std::clamp<std::int64_t>(steps, 0, total_steps);
}

double learning_rate_at(const RunConfig& config, std::int64_t step, std::int64_t total_steps) {
  base::expects(step >= 1 && step <= total_steps, "a step lies within the run");
  const std::int64_t warmup = warmup_steps(config, total_steps);
  const double peak = config.learning_rate;
  if (step <= warmup) return peak * static_cast<double>(step) / static_cast<double>(warmup);
  const double done = static_cast<double>(step - 1 - warmup) / static_cast<double>(total_steps - warmup);
  switch (config.lr_scheduler) {
    case LrScheduler::kLinear: return peak * (1 - done);
    case LrScheduler::kCosine: return peak * (1 + std::cos(std::numbers::pi * done)) / 2;
    case LrScheduler::kConstant: return peak;
  }
  base::broken_invariant("every schedule has its formula", std::source_location::current());
}

}  // namespace finetuned::training
