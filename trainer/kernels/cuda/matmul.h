#pragma once

#include <cstdint>
#include <tuple>

#include "base/expects.h"
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
  const char* name = "product";  ///< in the device's profile; a literal

  double flops() const { return 2 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
  double bytes() const {
    const auto read = static_cast<double>(sizeof(tensor::Bf16) * static_cast<std::size_t>(m * k + k * n));
    return read + static_cast<double>(sizeof(Out) * static_cast<std::size_t>((start ? 2 : 1) * m * n));
  }
};

/// Aborts where there is nothing to multiply, or a stride is shorter than what it steps over.
template <class Out>
void check_shape(const Matmul<Out>& product) {
  const auto [m, n, k] = std::tuple(product.m, product.n, product.k);
  base::expects(m > 0 && n > 0 && k > 0, "a product has a size");
  base::expects(product.left.stride >= (product.left.transposed ? m : k) && product.right.stride >= (product.right.transposed ? k : n) &&
                    product.c_stride >= n,
                "a stride spans a row");
}

void matmul(const tensor::Cuda& device, const Matmul<tensor::Bf16>& product);
void matmul(const tensor::Cuda& device, const Matmul<float>& product);

}  // namespace finetuned::kernels::cuda
