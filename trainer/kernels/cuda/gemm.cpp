// Chains of products, and LoRA's, as single ones.

#include "base/expects.h"
#include "trainer/kernels/cuda/matmul.h"
#include "trainer/kernels/gemm.h"
#include "trainer/kernels/lora.h"

namespace finetuned::kernels {

using tensor::Bf16;
using tensor::Cuda;

namespace {

/// Of m rows and k columns. Where both strides are 1, one of m and k is 1, and as the other's row it is shorter than a stride.
cuda::MatrixView view(const Left<Bf16>& left, std::int64_t k) {
  const bool transposed = left.k_stride != 1 || left.row_stride < k;
  return {left.data, transposed ? left.k_stride : left.row_stride, transposed};
}

template <class Out>
void multiply(const Cuda& device, const Gemm<Bf16, Out>& gemm) {
  if (gemm.m == 0 || gemm.n == 0) return;
  base::expects(gemm.products[0].k > 0, "a gemm has a product");
  const Out* start = gemm.start;
  const Bf16* bias = gemm.bias;
  for (const Product<Bf16>& product : gemm.products) {
    if (product.k == 0) break;
    cuda::Matmul<Out> one;
    one.m = gemm.m;
    one.n = gemm.n;
    one.k = product.k;
    one.left = view(product.left, product.k);
    one.right = {product.right.data, product.right.stride, product.right.transposed};
    one.alpha = gemm.alpha;
    one.start = start;
    one.bias = bias;
    one.c = gemm.c;
    one.c_stride = gemm.c_stride;
    one.name = gemm.name;
    cuda::matmul(device, one);
    start = gemm.c;
    bias = nullptr;
  }
}

struct Rows {
  const Bf16* data;
  std::int64_t size;
};

/// gradient [left.size, right.size] += left^T right, over the tokens of both.
void add_outer(const Cuda& device, std::int64_t tokens, const Rows& left, const Rows& right, float* gradient) {
  if (tokens == 0) return;
  Gemm<Bf16, float> g;
  g.m = left.size;
  g.n = right.size;
  g.products[0] = {{left.data, 1, left.size}, {right.data, right.size, false}, tokens};
  g.c = gradient;
  g.c_stride = right.size;
  g.start = gradient;
  g.name = "lora gradient";
  multiply(device, g);
}

}  // namespace

void gemm(const Cuda& device, std::span<const Gemm<Bf16>> group) {
  for (const Gemm<Bf16>& one : group)
    multiply(device, one);
}

void gemm(const Cuda& device, std::span<const Gemm<Bf16, float>> group) {
  for (const Gemm<Bf16, float>& one : group)
    multiply(device, one);
}

void lora_a_forward(const Cuda& device, const Lora& shape, const Bf16* x, std::span<const Bf16* const> a, float scale,
                    std::span<Bf16* const> out) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    Gemm<Bf16> g;
    g.m = shape.tokens;
    g.n = shape.rank;
    g.products[0] = {{x, shape.size, 1}, {a[i], shape.size, true}, shape.size};
    g.c = out[i];
    g.c_stride = shape.rank;
    g.alpha = scale;
    g.name = "lora A x";
    gemm(device, g);
  }
}

void lora_b_backward(const Cuda& device, const Lora& shape, const Bf16* dy, const Bf16* b, float scale, Bf16* d_low) {
  Gemm<Bf16> g;
  g.m = shape.tokens;
  g.n = shape.rank;
  g.products[0] = {{dy, shape.size, 1}, {b, shape.rank, false}, shape.size};
  g.c = d_low;
  g.c_stride = shape.rank;
  g.alpha = scale;
  g.name = "lora dy B";
  gemm(device, g);
}

void lora_a_gradient(const Cuda& device, const Lora& shape, const Bf16* d_low, const Bf16* x, float* gradient) {
  add_outer(device, shape.tokens, {d_low, shape.rank}, {x, shape.size}, gradient);
}

void lora_b_gradient(const Cuda& device, const Lora& shape, const Bf16* low, const Bf16* dy, float* gradient) {
  add_outer(device, shape.tokens, {dy, shape.size}, {low, shape.rank}, gradient);
}

}  // namespace finetuned::kernels
