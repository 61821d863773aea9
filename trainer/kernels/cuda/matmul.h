#pragma once

#include <cstdint>

#include "trainer/tensor/cuda.h"

namespace finetuned::kernels::cuda {

/// An operand [rows, columns], row-major with `stride`, or given transposed: element (r, c) at data[c * stride + r].
struct MatrixView {
  const tensor::Bf16* data = nullptr;
  std::int64_t stride = 0;
  bool transposed = false;
};

/// c [m, n] = alpha left [m, k] right [k, n] + start + bias, summed in single precision and rounded once to c's type. m, n and k
/// are at least 1.
template <class Out>
struct Matmul {
  std::int64_t m = 0, n = 0, k = 0;
  MatrixView left, right;
  float alpha = 1;
  const Out* start = nullptr;  ///< null, c itself, or another [m, n] of c's stride
  const tensor::Bf16* bias = nullptr;  ///< [n] or null
  Out* c = nullptr;
  std::int64_t c_stride = 0;
};

void matmul(const tensor::Cuda& device, const Matmul<tensor::Bf16>& product);
void matmul(const tensor::Cuda& device, const Matmul<float>& product);

}  // namespace finetuned::kernels::cuda
