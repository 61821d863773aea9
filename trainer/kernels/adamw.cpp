#include <cmath>

#include "trainer/kernels/adamw_math.h"

namespace finetuned::kernels {

AdamWFactors adamw_factors(const AdamW& settings, std::int64_t step, double gradient_scale) {
  const double correction1 = 1 - std::pow(settings.beta1, static_cast<double>(step));
  const double correction2 = 1 - std::pow(settings.beta2, static_cast<double>(step));
  return {.keep = static_cast<float>(1 - settings.learning_rate * settings.weight_decay),
          .step = static_cast<float>(settings.learning_rate / correction1),
          .spread = static_cast<float>(1 / std::sqrt(correction2)),
          .epsilon = static_cast<float>(settings.epsilon),
          .beta1 = static_cast<float>(settings.beta1),
          .beta2 = static_cast<float>(settings.beta2),
          .scale = static_cast<float>(gradient_scale)};
}

}  // namespace finetuned::kernels
