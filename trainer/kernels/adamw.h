#pragma once

#include <cstdint>

#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// Decoupled weight decay, arXiv 1711.05101, in PyTorch's order: the value is first multiplied by 1 - lr *
/// decay.
struct AdamW {
  double learning_rate = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
};

/// One update of `count` values in place; `first` and `second` are the moments. `gradient` is multiplied by
/// `gradient_scale` before use and left as it is. `step` is 1-based (bias correction).
void adamw(const tensor::Cpu& device, const AdamW& settings, std::int64_t step, double gradient_scale,
           float* value, const float* gradient, float* first, float* second, std::int64_t count);
void adamw(const tensor::Cuda& device, const AdamW& settings, std::int64_t step, double gradient_scale,
           float* value, const float* gradient, float* first, float* second, std::int64_t count);
void adamw(const tensor::Reference& device, const AdamW& settings, std::int64_t step, double gradient_scale,
           double* value, const double* gradient, double* first, double* second, std::int64_t count);

}  // namespace finetuned::kernels
