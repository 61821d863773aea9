#pragma once

#include <cstdint>

#include "trainer/training/run.h"

namespace finetuned::training {

/// Steps of linear warm-up: ceil(warmup_ratio * total_steps).
std::int64_t warmup_steps(const RunConfig& config, std::int64_t total_steps);

/// The learning rate of `step` (1-based, <= total_steps). In warm-up of w steps: peak * step / w. After it, with
/// t = (step - 1 - w) / (total_steps - w) in [0, 1): linear peak * (1 - t), cosine peak * (1 + cos(pi t)) / 2,
/// constant peak. No step has rate zero.
double learning_rate_at(const RunConfig& config, std::int64_t step, std::int64_t total_steps);

}  // namespace finetuned::training
