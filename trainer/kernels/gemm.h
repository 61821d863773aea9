#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <type_traits>

#include "trainer/tensor/cuda.h"
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

/// One product of a Gemm: left [m, k] times right [k, n].
template <class Real>
struct Product {
  Left<Real> left;
  Right<Real> right;
  std::int64_t k = 0;  ///< 0: there is none
};

/// As many as the gradient of an attention's input takes: three layers, each with its low-rank update.
inline constexpr int kMostProducts = 6;

/// c [m, n] = (start or 0) + (bias or 0) + alpha * sum of the products. Several products are one chain: that
/// is where a low-rank update rides along, and where gradients of one input meet, without another pass over
/// c. `Out` is what c is kept in: a device's Real, or its Wide for gradients and logits.
template <class Real, class Out = Real>
struct Gemm {
  std::int64_t m = 0, n = 0;
  std::array<Product<Real>, kMostProducts> products;  ///< those with k > 0, from the front
  Out* c = nullptr;
  std::int64_t c_stride = 0;
  const Out* start = nullptr;  ///< null, c itself (to add to it), or another [m, n] of c's stride
  std::conditional_t<std::is_same_v<Real, double>, double, float> alpha = 1;
  const Real* bias = nullptr;  ///< [n] or null
  const char* name = "gemm";   ///< in the device's profile; a literal
};

/// Each element is one chain of fused multiply-adds in the order of the products and of k, whatever m, n and
/// the threads are: a row's bits do not depend on its batch. Beyond a depth of 8,192 it is a sum of such
/// chains, cut by the depths alone. A group is done side by side, its results written in any order: none may
/// read what another writes. No packed copy of a frozen weight is held: a block of it is packed into the
/// core's own cache as it is met, once for all rows, so that the cost falls with their number
/// (docs/performance.md); up to 8 rows read it where it lies.
void gemm(const tensor::Cpu& device, std::span<const Gemm<float>> group);
/// On the GPU a product of a chain is rounded to `Out` before the next is added, and the order within one is cuBLASLt's for the
/// shape's class: the same for the same numbers.
void gemm(const tensor::Cuda& device, std::span<const Gemm<tensor::Bf16>> group);
void gemm(const tensor::Cuda& device, std::span<const Gemm<tensor::Bf16, float>> group);
void gemm(const tensor::Reference& device, std::span<const Gemm<double>> group);
template <class Device, class Real, class Out>
void gemm(const Device& device, const Gemm<Real, Out>& one) {
  gemm(device, std::span<const Gemm<Real, Out>>(&one, 1));
}

}  // namespace finetuned::kernels
