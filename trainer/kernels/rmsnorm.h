#pragma once

#include <cstdint>

#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// Root-mean-square normalisation, arXiv 1910.07467, of `rows` contiguous rows of `size`: y = x rstd weight
/// with rstd = 1 / sqrt(mean(x^2) + eps). Qwen3's q and k norms are the same over rows of head_dim.
struct RmsNorm {
  std::int64_t rows = 0;
  std::int64_t size = 0;
  double eps = 1e-6;
};

/// x, y [rows, size], weight [size], rstd [rows] written. `y` may be `x`.
void rmsnorm(const tensor::Cpu& device, const RmsNorm& shape, const float* x, const float* weight, float* y,
             float* rstd);
void rmsnorm(const tensor::Cuda& device, const RmsNorm& shape, const tensor::Bf16* x,
             const tensor::Bf16* weight, tensor::Bf16* y, float* rstd);
void rmsnorm(const tensor::Reference& device, const RmsNorm& shape, const double* x, const double* weight,
             double* y, double* rstd);

/// y again, from a kept rstd.
void rmsnorm_apply(const tensor::Cpu& device, const RmsNorm& shape, const float* x, const float* weight,
                   const float* rstd, float* y);
void rmsnorm_apply(const tensor::Cuda& device, const RmsNorm& shape, const tensor::Bf16* x,
                   const tensor::Bf16* weight, const float* rstd, tensor::Bf16* y);
void rmsnorm_apply(const tensor::Reference& device, const RmsNorm& shape, const double* x,
                   const double* weight, const double* rstd, double* y);

/// dx (added to where `add`, for the residual stream; else written, and then `dx` may be `dy`) and, where not
/// null, d_weight [size], added to. d_weight is read from dy before dx is written.
void rmsnorm_backward(const tensor::Cpu& device, const RmsNorm& shape, const float* dy, const float* x,
                      const float* weight, const float* rstd, bool add, float* dx, float* d_weight);
void rmsnorm_backward(const tensor::Cuda& device, const RmsNorm& shape, const tensor::Bf16* dy,
                      const tensor::Bf16* x, const tensor::Bf16* weight, const float* rstd, bool add,
                      tensor::Bf16* dx, float* d_weight);
void rmsnorm_backward(const tensor::Reference& device, const RmsNorm& shape, const double* dy,
                      const double* x, const double* weight, const double* rstd, bool add, double* dx,
                      double* d_weight);

}  // namespace finetuned::kernels
