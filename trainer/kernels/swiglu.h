#pragma once

#include <cstdint>

#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// out = silu(gate) up, silu(x) = x / (1 + e^-x) (arXiv 2002.05202), elementwise over `count`.
void swiglu(const tensor::Cpu& device, const float* gate, const float* up, std::int64_t count, float* out);
void swiglu(const tensor::Cuda& device, const tensor::Bf16* gate, const tensor::Bf16* up, std::int64_t count,
            tensor::Bf16* out);
void swiglu(const tensor::Reference& device, const double* gate, const double* up, std::int64_t count,
            double* out);

/// In place: `gate` becomes its own gradient, and so does `up`.
void swiglu_backward(const tensor::Cpu& device, const float* d_out, float* gate, float* up,
                     std::int64_t count);
void swiglu_backward(const tensor::Cuda& device, const tensor::Bf16* d_out, tensor::Bf16* gate,
                     tensor::Bf16* up, std::int64_t count);
void swiglu_backward(const tensor::Reference& device, const double* d_out, double* gate, double* up,
                     std::int64_t count);

}  // namespace finetuned::kernels
