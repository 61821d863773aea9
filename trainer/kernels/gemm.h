#pragma once

#include <cstdint>

#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// A left operand [m, k]: element (row, k) at data[row * row_stride + k * k_stride]. One stride is 1.
template <class Real>
struct Left {
  const Real* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t k_stride = 1;
};

/// A right operand [k, n]: element (k, column) at data[k * stride + column], or at data[column * stride + k]
/// where `transposed`, as a linear layer's weight [out, in] is used forward.
template <class Real>
struct Right {
  const Real* data = nullptr;
  std::int64_t stride = 0;
  bool transposed = false;
};

/// c [m, n] = (accumulate ? c : 0) + (bias or 0) + alpha (left right + left2 right2). The second product, of
/// depth k2, is where a low-rank update rides along without another pass over c.
template <class Real>
struct Gemm {
  std::int64_t m = 0, n = 0, k = 0;
  Left<Real> left;
  Right<Real> right;
  std::int64_t k2 = 0;  ///< 0: no second product
  Left<Real> left2;
  Right<Real> right2;
  Real* c = nullptr;
  std::int64_t c_stride = 0;
  bool accumulate = false;
  Real alpha = 1;
  const Real* bias = nullptr;  ///< [n] or null
};

/// Each element is one chain of fused multiply-adds in the order of k, whatever m, n and the threads are: a
/// row's bits do not depend on its batch. (Measured on a Zen 4 core at Llama-15M shapes: 109-116 GFLOP/s;
/// oneDNN 2.6 100-115, OpenBLAS 0.3.21 94-106, and neither promises that.) Beyond a depth of 65,536 it is a
/// sum of such chains. k2 is at most 65,536.
void gemm(const tensor::Cpu& device, const Gemm<float>& g);
void gemm(const tensor::Reference& device, const Gemm<double>& g);

}  // namespace finetuned::kernels
