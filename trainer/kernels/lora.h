#pragma once

#include <cstdint>
#include <span>

#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// The low-rank products around a linear layer with y = W x + B low, low = scale A x (arXiv 2106.09685),
/// where a general product would idle most of its lanes. B low itself rides along in the layer's own gemm.
struct Lora {
  std::int64_t tokens = 0;
  std::int64_t rank = 0;
  std::int64_t size = 0;  ///< of a token's row: the layer's input for A, its output for B
};

/// out[i] [tokens, rank] = scale x a[i]^T, for layers that read one input x [tokens, size]; a[i] [rank,
/// size].
void lora_a_forward(const tensor::Cpu& device, const Lora& shape, const float* x,
                    std::span<const float* const> a, float scale, std::span<float* const> out);
void lora_a_forward(const tensor::Cuda& device, const Lora& shape, const tensor::Bf16* x,
                    std::span<const tensor::Bf16* const> a, float scale, std::span<tensor::Bf16* const> out);
void lora_a_forward(const tensor::Reference& device, const Lora& shape, const double* x,
                    std::span<const double* const> a, double scale, std::span<double* const> out);

/// The gradient of A x: d_low [tokens, rank] = scale dy b; dy [tokens, size], b [size, rank].
void lora_b_backward(const tensor::Cpu& device, const Lora& shape, const float* dy, const float* b,
                     float scale, float* d_low);
void lora_b_backward(const tensor::Cuda& device, const Lora& shape, const tensor::Bf16* dy, const tensor::Bf16* b,
                     float scale, tensor::Bf16* d_low);
void lora_b_backward(const tensor::Reference& device, const Lora& shape, const double* dy, const double* b,
                     double scale, double* d_low);

/// gradient [rank, size] += d_low^T x, tokens in order.
void lora_a_gradient(const tensor::Cpu& device, const Lora& shape, const float* d_low, const float* x,
                     float* gradient);
void lora_a_gradient(const tensor::Cuda& device, const Lora& shape, const tensor::Bf16* d_low,
                     const tensor::Bf16* x, float* gradient);
void lora_a_gradient(const tensor::Reference& device, const Lora& shape, const double* d_low, const double* x,
                     double* gradient);

/// gradient [size, rank] += dy^T low, tokens in order.
void lora_b_gradient(const tensor::Cpu& device, const Lora& shape, const float* low, const float* dy,
                     float* gradient);
void lora_b_gradient(const tensor::Cuda& device, const Lora& shape, const tensor::Bf16* low,
                     const tensor::Bf16* dy, float* gradient);
void lora_b_gradient(const tensor::Reference& device, const Lora& shape, const double* low, const double* dy,
                     double* gradient);

}  // namespace finetuned::kernels
