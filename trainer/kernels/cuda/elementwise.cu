// What treats each element, or each pair, by itself.

#include "trainer/kernels/adamw_math.h"
#include "trainer/kernels/cuda/launch.cuh"
#include "trainer/kernels/dropout_math.h"
#include "trainer/kernels/embedding.h"
#include "trainer/kernels/lower.h"
#include "trainer/kernels/reduce.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/swiglu.h"

namespace finetuned::kernels {

using tensor::Bf16;
using tensor::Cuda;
using namespace cuda;

namespace {

/// Calls each(i) for this thread's of `count` numbers.
template <class Each>
__device__ __forceinline__ void over(std::int64_t count, const Each& each) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) each(i);
}

__global__ void rotate(Rope shape, const float* cosines, const float* sines, const std::int32_t* positions, __nv_bfloat16* x) {
  const std::int64_t half = shape.head_dim / 2;
  over(shape.tokens * shape.heads * half, [&](std::int64_t i) {
    const std::int64_t row = i / half, pair = i % half;
    const std::int64_t angle = positions[row / shape.heads] * half + pair;
    const float c = cosines[angle], s = shape.backward ? -sines[angle] : sines[angle];
    __nv_bfloat16* head = x + row * shape.head_dim;
    const float a = __bfloat162float(head[pair]), b = __bfloat162float(head[half + pair]);
    head[pair] = __float2bfloat16_rn(a * c - b * s);
    head[half + pair] = __float2bfloat16_rn(b * c + a * s);
  });
}

template <int kPack>
__global__ void gate_up(const __nv_bfloat16* gate, const __nv_bfloat16* up, std::int64_t count, __nv_bfloat16* out) {
  over(count / kPack, [&](std::int64_t i) {
    auto g = Pack<kPack>::load(gate + i * kPack);
    const auto u = Pack<kPack>::load(up + i * kPack);
    for (int j = 0; j < kPack; ++j) g.values[j] = g.values[j] / (1 + __expf(-g.values[j])) * u.values[j];
    g.store(out + i * kPack);
  });
}

template <int kPack>
__global__ void gate_up_backward(const __nv_bfloat16* d_out, __nv_bfloat16* gate, __nv_bfloat16* up, std::int64_t count) {
  over(count / kPack, [&](std::int64_t i) {
    const auto d = Pack<kPack>::load(d_out + i * kPack);
    auto g = Pack<kPack>::load(gate + i * kPack), u = Pack<kPack>::load(up + i * kPack);
    for (int j = 0; j < kPack; ++j) {
      const float x = g.values[j], s = 1 / (1 + __expf(-x)), y = u.values[j];
      g.values[j] = d.values[j] * y * s * (1 + x * (1 - s));
      u.values[j] = d.values[j] * x * s;
    }
    g.store(gate + i * kPack);
    u.store(up + i * kPack);
  });
}

/// One row from `from` to `to` for each id, in packs.
template <int kPack, bool kGather>
__global__ void move_rows(const __nv_bfloat16* from, const std::int32_t* ids, std::int64_t rows, std::int64_t size,
                          __nv_bfloat16* to) {
  const std::int64_t packs = size / kPack;
  over(rows * packs, [&](std::int64_t i) {
    const std::int64_t here = i * kPack, there = ids[i / packs] * size + i % packs * kPack;
    Pack<kPack>::load(from + (kGather ? there : here)).store(to + (kGather ? here : there));
  });
}

/// Threads share columns, not rows: equal ids add up in the order of i.
__global__ void add_rows(const __nv_bfloat16* from, const std::int32_t* ids, std::int64_t rows, std::int64_t size, float* table) {
  over(size, [&](std::int64_t column) {
    for (std::int64_t i = 0; i < rows; ++i) table[ids[i] * size + column] += __bfloat162float(from[i * size + column]);
  });
}

__global__ void round_all(const float* values, std::int64_t count, __nv_bfloat16* out) {
  over(count, [&](std::int64_t i) { out[i] = __float2bfloat16_rn(values[i]); });
}

__global__ void add_or_take(const float* from, bool add, std::int64_t count, float* to) {
  over(count, [&](std::int64_t i) { to[i] = add ? from[i] + to[i] : from[i]; });
}

__global__ void update(AdamWFactors by, float* value, const float* gradient, float* first, float* second, std::int64_t count) {
  over(count, [&](std::int64_t i) {
    const float g = gradient[i] * by.scale;
    const float m = by.beta1 * first[i] + (1 - by.beta1) * g, v = by.beta2 * second[i] + (1 - by.beta2) * g * g;
    first[i] = m;
    second[i] = v;
    value[i] = value[i] * by.keep - by.step * m / (sqrtf(v) * by.spread + by.epsilon);
  });
}

__global__ void drop(Dropout shape, const __nv_bfloat16* x, bool add, __nv_bfloat16* out) {
  const std::int64_t pairs = ceiling(shape.size, 2);
  const auto scale = static_cast<float>(1 / (1 - shape.probability));
  over(shape.tokens * pairs, [&](std::int64_t i) {
    const std::int64_t token = i / pairs, pair = i % pairs;
    const std::uint64_t key = dropout_key(shape, token);
    for (int side = 0; side < 2 && pair * 2 + side < shape.size; ++side) {
      const std::int64_t at = token * shape.size + pair * 2 + side;
      const float value = dropout_keeps(shape, key, pair, side) ? __bfloat162float(x[at]) * scale : 0;
      out[at] = __float2bfloat16_rn(add ? __bfloat162float(out[at]) + value : value);
    }
  });
}

}  // namespace

void rope(const Cuda& device, const Rope& shape, const float* cosines, const float* sines, const std::int32_t* positions, Bf16* x) {
  const std::int64_t pairs = shape.tokens * shape.heads * (shape.head_dim / 2);
  if (pairs == 0) return;
  launch(device, "rope", rotate, blocks_for(pairs, kThreads), kThreads, 0, shape, cosines, sines, positions, native(x));
}

void swiglu(const Cuda& device, const Bf16* gate, const Bf16* up, std::int64_t count, Bf16* out) {
  if (count == 0) return;
  const bool eights = in_eights(count, gate, up, out);
  launch(device, "swiglu", eights ? gate_up<8> : gate_up<1>, blocks_for(eights ? count / 8 : count, kThreads), kThreads, 0,
         native(gate), native(up), count, native(out));
}

void swiglu_backward(const Cuda& device, const Bf16* d_out, Bf16* gate, Bf16* up, std::int64_t count) {
  if (count == 0) return;
  const bool eights = in_eights(count, d_out, gate, up);
  launch(device, "swiglu backward", eights ? gate_up_backward<8> : gate_up_backward<1>,
         blocks_for(eights ? count / 8 : count, kThreads), kThreads, 0, native(d_out), native(gate), native(up), count);
}

void gather_rows(const Cuda& device, const Bf16* table, const std::int32_t* ids, std::int64_t rows, std::int64_t size, Bf16* out) {
  if (rows == 0) return;
  const bool eights = in_eights(size, table, out);
  launch(device, "gather", eights ? move_rows<8, true> : move_rows<1, true>, blocks_for(rows * (eights ? size / 8 : size), kThreads),
         kThreads, 0, native(table), ids, rows, size, native(out));
}

void scatter_rows(const Cuda& device, const Bf16* from, const std::int32_t* ids, std::int64_t rows, std::int64_t size, Bf16* table) {
  if (rows == 0) return;
  const bool eights = in_eights(size, from, table);
  launch(device, "scatter", eights ? move_rows<8, false> : move_rows<1, false>,
         blocks_for(rows * (eights ? size / 8 : size), kThreads), kThreads, 0, native(from), ids, rows, size, native(table));
}

void scatter_add_rows(const Cuda& device, const Bf16* from, const std::int32_t* ids, std::int64_t rows, std::int64_t size,
                      float* table) {
  if (rows == 0) return;
  launch(device, "scatter add", add_rows, blocks_for(size, kThreads), kThreads, 0, native(from), ids, rows, size, table);
}

void adamw(const Cuda& device, const AdamW& settings, std::int64_t step, double gradient_scale, float* value, const float* gradient,
           float* first, float* second, std::int64_t count) {
  if (count == 0) return;
  launch(device, "adamw", update, blocks_for(count, kThreads), kThreads, 0, adamw_factors(settings, step, gradient_scale), value,
         gradient, first, second, count);
}

void accumulate(const Cuda& device, const float* from, bool add, std::int64_t count, float* to) {
  if (count == 0) return;
  launch(device, "accumulate", add_or_take, blocks_for(count, kThreads), kThreads, 0, from, add, count, to);
}

void lower(const Cuda& device, const float* values, std::int64_t count, Bf16* out) {
  if (count == 0) return;
  launch(device, "lower", round_all, blocks_for(count, kThreads), kThreads, 0, values, count, native(out));
}

void dropout(const Cuda& device, const Dropout& shape, const Bf16* x, bool add, Bf16* out) {
  const std::int64_t pairs = shape.tokens * ceiling(shape.size, 2);
  if (pairs == 0) return;
  launch(device, "dropout", drop, blocks_for(pairs, kThreads), kThreads, 0, shape, native(x), add, native(out));
}

}  // namespace finetuned::kernels
