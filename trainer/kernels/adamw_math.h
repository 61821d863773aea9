#pragma once

#include "trainer/kernels/adamw.h"

namespace finetuned::kernels {

/// AdamW with what is constant over a step worked out: value = keep value - step first / (sqrt(second) spread
/// + epsilon). `scale`: of the gradient.
struct AdamWFactors {
  float keep, step, spread, epsilon, beta1, beta2, scale;
};
AdamWFactors adamw_factors(const AdamW& settings, std::int64_t step, double gradient_scale);

}  // namespace finetuned::kernels
