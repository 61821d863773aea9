// Root-mean-square normalisation: a warp a row.

#include "trainer/kernels/cuda/sums.cuh"
#include "trainer/kernels/rmsnorm.h"

namespace finetuned::kernels {

using tensor::Bf16;
using tensor::Cuda;
using namespace cuda;

namespace {

constexpr int kRowsOfBlock = kThreads / kWarp;

/// Calls each(row) for the rows of this warp.
template <class Each>
__device__ __forceinline__ void over_rows(std::int64_t rows, const Each& each) {
  const std::int64_t step = std::int64_t{gridDim.x} * kRowsOfBlock;
  for (std::int64_t row = std::int64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / kWarp; row < rows; row += step) each(row);
}

/// Calls each(at) for this lane's packs of a row: those of a warp lie side by side.
template <int kPack, class Each>
__device__ __forceinline__ void over_packs(std::int64_t size, const Each& each) {
  for (std::int64_t at = std::int64_t{threadIdx.x % kWarp} * kPack; at < size; at += kWarp * kPack) each(at);
}

template <int kPack>
__global__ void norm_forward(RmsNorm shape, const __nv_bfloat16* x, const __nv_bfloat16* weight, __nv_bfloat16* y, float* rstd,
                             bool known) {
  over_rows(shape.rows, [&](std::int64_t row) {
    const __nv_bfloat16* from = x + row * shape.size;
    float r = known ? rstd[row] : 0;
    if (!known) {
      float squares = 0;
      over_packs<kPack>(shape.size, [&](std::int64_t at) {
        const auto values = Pack<kPack>::load(from + at);
        for (int i = 0; i < kPack; ++i) squares = fmaf(values.values[i], values.values[i], squares);
      });
      r = rsqrtf(warp_sum(squares) / static_cast<float>(shape.size) + static_cast<float>(shape.eps));
      if (threadIdx.x % kWarp == 0) rstd[row] = r;
    }
    over_packs<kPack>(shape.size, [&](std::int64_t at) {
      auto values = Pack<kPack>::load(from + at);
      const auto factors = Pack<kPack>::load(weight + at);
      for (int i = 0; i < kPack; ++i) values.values[i] *= r * factors.values[i];
      values.store(y + row * shape.size + at);
    });
  });
}

template <int kPack>
__global__ void norm_backward(RmsNorm shape, const __nv_bfloat16* dy, const __nv_bfloat16* x, const __nv_bfloat16* weight,
                              const float* rstd, bool add, __nv_bfloat16* dx) {
  over_rows(shape.rows, [&](std::int64_t row) {
    const std::int64_t begin = row * shape.size;
    const float r = rstd[row];
    float mean = 0;  // of weight dy x_hat
    over_packs<kPack>(shape.size, [&](std::int64_t at) {
      const auto d = Pack<kPack>::load(dy + begin + at), value = Pack<kPack>::load(x + begin + at),
                 factor = Pack<kPack>::load(weight + at);
      for (int i = 0; i < kPack; ++i) mean = fmaf(d.values[i] * factor.values[i], value.values[i] * r, mean);
    });
    mean = warp_sum(mean) / static_cast<float>(shape.size);
    over_packs<kPack>(shape.size, [&](std::int64_t at) {
      const auto d = Pack<kPack>::load(dy + begin + at), value = Pack<kPack>::load(x + begin + at),
                 factor = Pack<kPack>::load(weight + at);
      Pack<kPack> out{};
      if (add) out = Pack<kPack>::load(dx + begin + at);
      for (int i = 0; i < kPack; ++i)
        out.values[i] += r * (d.values[i] * factor.values[i] - value.values[i] * r * mean);
      out.store(dx + begin + at);
    });
  });
}

__global__ void norm_weight_gradient(RmsNorm shape, const __nv_bfloat16* dy, const __nv_bfloat16* x, const float* rstd,
                                     float* d_weight) {
  add_columns(shape.rows, shape.size, d_weight, [&](std::int64_t row, std::int64_t column) {
    const std::int64_t at = row * shape.size + column;
    return __bfloat162float(dy[at]) * (__bfloat162float(x[at]) * rstd[row]);
  });
}

void forward(const Cuda& device, const RmsNorm& shape, const Bf16* x, const Bf16* weight, Bf16* y, float* rstd, bool known) {
  if (shape.rows == 0) return;
  const auto kernel = in_eights(shape.size, x, weight, y) ? norm_forward<8> : norm_forward<1>;
  launch(device, "rmsnorm", kernel, blocks_for(shape.rows, kRowsOfBlock), kThreads, 0, shape, native(x), native(weight), native(y),
         rstd, known);
}

}  // namespace

void rmsnorm(const Cuda& device, const RmsNorm& shape, const Bf16* x, const Bf16* weight, Bf16* y, float* rstd) {
  forward(device, shape, x, weight, y, rstd, false);
}

void rmsnorm_apply(const Cuda& device, const RmsNorm& shape, const Bf16* x, const Bf16* weight, const float* rstd, Bf16* y) {
  forward(device, shape, x, weight, y, const_cast<float*>(rstd), true);  // where it is known it is only read
}

void rmsnorm_backward(const Cuda& device, const RmsNorm& shape, const Bf16* dy, const Bf16* x, const Bf16* weight, const float* rstd,
                      bool add, Bf16* dx, float* d_weight) {
  if (shape.rows == 0) return;
  if (d_weight)
    launch(device, "rmsnorm weight gradient", norm_weight_gradient, static_cast<unsigned>(ceiling(shape.size, kSumColumns)), kThreads, 0,
           shape, native(dy), native(x), rstd, d_weight);
  const auto kernel = in_eights(shape.size, dy, x, weight, dx) ? norm_backward<8> : norm_backward<1>;
  launch(device, "rmsnorm backward", kernel, blocks_for(shape.rows, kRowsOfBlock), kThreads, 0, shape, native(dy), native(x),
         native(weight), rstd, add, native(dx));
}

}  // namespace finetuned::kernels
