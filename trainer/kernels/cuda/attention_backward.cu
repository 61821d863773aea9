// Attention's gradients without atomics: one pass over the keys' tiles for dK and dV, one over the queries' for dQ. Each works its
// scores out anew from the kept logarithm of the softmax's sum; sums go over tiles in their order.

#include <cmath>

#include "trainer/kernels/attention.h"
#include "trainer/kernels/cuda/attention_tiles.cuh"
#include "trainer/kernels/cuda/sums.cuh"

namespace finetuned::kernels {

using tensor::Bf16;
using tensor::Cuda;
using namespace cuda;

namespace {

constexpr int kStep = 32;  // keys of a step
/// Queries of a step: fewer where a wide head's sums need the registers.
template <int kDim>
constexpr int kQueryStep = kDim > 96 ? 16 : 32;

struct Operands {
  const __nv_bfloat16 *q, *k, *v, *d_out;
  const float *lse, *row_dot;
};

/// row_dot [heads, queries] = the product of a query's output and its gradient: a warp each.
__global__ void multiply_rows(Attention shape, const __nv_bfloat16* out, const __nv_bfloat16* d_out, float* row_dot) {
  const std::int64_t count = shape.queries * shape.heads;
  const std::int64_t warps = std::int64_t{gridDim.x} * (kThreads / kWarp);
  for (std::int64_t i = std::int64_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp; i < count; i += warps) {
    float sum = 0;
    for (std::int64_t at = threadIdx.x % kWarp; at < shape.head_dim; at += kWarp)
      sum = fmaf(__bfloat162float(out[i * shape.head_dim + at]), __bfloat162float(d_out[i * shape.head_dim + at]), sum);
    sum = warp_sum(sum);
    if (threadIdx.x % kWarp == 0) row_dot[i % shape.heads * shape.queries + i / shape.heads] = sum;
  }
}

/// A block takes 64 keys of a key head, a warp 16 of them; the heads that read them and their queries come one after another.
template <int kDim>
__global__ void __launch_bounds__(kAttentionThreads)
    key_gradients(Attention shape, Operands from, __nv_bfloat16* dk, __nv_bfloat16* dv, bool eights) {
  constexpr int kQueries = kQueryStep<kDim>;
  const TileOf tile = find_tile(shape, static_cast<int>(blockIdx.x));  // a sequence has as many keys as queries
  if (!tile.some) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto [d, group, q_stride, kv_stride, window] = widths_of(shape);
  const int kv_head = static_cast<int>(blockIdx.y);
  const std::int64_t kv_at = std::int64_t{tile.key_begin + tile.first} * kv_stride + kv_head * d;
  const float scale = 1 / sqrtf(static_cast<float>(d)), scale_log2 = scale * kLog2E;

  auto* const keys = dynamic_shared<__nv_bfloat16>();
  __nv_bfloat16* const values = keys + kTile * kStride<kDim>;
  __nv_bfloat16* const queries = values + kTile * kStride<kDim>;
  __nv_bfloat16* const gradients = queries + kQueries * kStride<kDim>;
  auto* const lse = reinterpret_cast<float*>(gradients + kQueries * kStride<kDim>);
  float* const row_dot = lse + kQueries;
  load_tile<kTile, kDim>(keys, from.k + kv_at, kv_stride, tile.keys - tile.first, d, eights);
  load_tile<kTile, kDim>(values, from.v + kv_at, kv_stride, tile.keys - tile.first, d, eights);
  const __nv_bfloat16* const my_keys = keys + warp * 16 * kStride<kDim>;
  const __nv_bfloat16* const my_values = values + warp * 16 * kStride<kDim>;

  Sum k_sums[kDim / 8] = {}, v_sums[kDim / 8] = {};
  const int first_query = max(0, tile.first - tile.behind());
  const int last_key = min(tile.first + kTile, tile.keys) - 1;
  const int end_query = min(tile.queries, last_key + window - tile.behind());
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (int query = first_query / kQueries * kQueries; query < end_query; query += kQueries) {
      __syncthreads();  // the step before is read
      const int rows = tile.queries - query;
      const std::int64_t row_at = std::int64_t{head} * shape.queries + tile.query_begin + query;
      const std::int64_t q_at = std::int64_t{tile.query_begin + query} * q_stride + head * d;
      load_tile<kQueries, kDim>(queries, from.q + q_at, q_stride, rows, d, eights);
      load_tile<kQueries, kDim>(gradients, from.d_out + q_at, q_stride, rows, d, eights);
      load_numbers<kQueries>(lse, from.lse + row_at, rows);
      load_numbers<kQueries>(row_dot, from.row_dot + row_at, rows);
      __syncthreads();

      Sum weights[kQueries / 8] = {}, changes[kQueries / 8] = {};  // [keys, queries]
#pragma unroll 2
      for (int step = 0; step < kDim / 16; ++step) {
        Left key, value;
        load_left(key, my_keys + step * 16, kStride<kDim>);
        load_left(value, my_values + step * 16, kStride<kDim>);
        add_scores<kDim>(weights, key, queries, step);
        add_scores<kDim>(changes, value, gradients, step);
      }
#pragma unroll
      for (int column = 0; column < kQueries / 8; ++column)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int of_step = column * 8 + lane % 4 * 2 + i % 2;
          const int key = tile.first + warp * 16 + lane / 4 + i / 2 * 8, position = query + of_step + tile.behind();
          const bool seen = (of_step < rows) & (key < tile.keys) & sees(window, position, key);
          const float weight = exp2f(weights[column][i] * scale_log2 - lse[of_step] * kLog2E), p = seen ? weight : 0;
          weights[column][i] = p;
          changes[column][i] = p * (changes[column][i] - row_dot[of_step]);
        }
      add_rows<kDim>(v_sums, weights, gradients);
      add_rows<kDim>(k_sums, changes, queries);
    }
  }
  const int rows = tile.keys - tile.first - warp * 16;
  const std::int64_t at = kv_at + std::int64_t{warp * 16} * kv_stride;
  const float scales[2] = {scale, scale}, ones[2] = {1, 1};
  store_rows(k_sums, scales, dk + at, kv_stride, rows, d);
  store_rows(v_sums, ones, dv + at, kv_stride, rows, d);
}

/// A block takes 64 queries of a head, a warp 16 of them.
template <int kDim>
__global__ void __launch_bounds__(kAttentionThreads)
    query_gradients(Attention shape, Operands from, __nv_bfloat16* dq, bool eights) {
  const TileOf tile = find_tile(shape, static_cast<int>(gridDim.x - 1 - blockIdx.x));  // those with the most keys first
  if (!tile.some) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto [d, group, q_stride, kv_stride, window] = widths_of(shape);
  const int head = static_cast<int>(blockIdx.y), kv_head = head / group;
  const int mine = tile.first + warp * 16, rows = tile.queries - mine;
  const std::int64_t q_at = std::int64_t{tile.query_begin + mine} * q_stride + head * d;
  const float scale = 1 / sqrtf(static_cast<float>(d)), scale_log2 = scale * kLog2E;

  auto* const keys = dynamic_shared<__nv_bfloat16>();
  __nv_bfloat16* const values = keys + kStep * kStride<kDim>;
  RowFragments<kDim> query, gradient;
  load_fragments<kDim>(query, from.q + q_at, q_stride, rows, d);
  load_fragments<kDim>(gradient, from.d_out + q_at, q_stride, rows, d);
  float lse[2], row_dot[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + half * 8;
    const std::int64_t at = std::int64_t{head} * shape.queries + tile.query_begin + mine + row;
    lse[half] = row < rows ? from.lse[at] * kLog2E : 0;
    row_dot[half] = row < rows ? from.row_dot[at] : 0;
  }

  Sum sums[kDim / 8] = {};
  const int first_position = tile.first + tile.behind();
  const int last_position = min(tile.first + kTile, tile.queries) - 1 + tile.behind();
  const int first_key = max(0, first_position - window + 1);
  for (int key = first_key / kStep * kStep; key <= last_position; key += kStep) {
    __syncthreads();  // the step before is read
    const std::int64_t kv_at = std::int64_t{tile.key_begin + key} * kv_stride + kv_head * d;
    load_tile<kStep, kDim>(keys, from.k + kv_at, kv_stride, tile.keys - key, d, eights);
    load_tile<kStep, kDim>(values, from.v + kv_at, kv_stride, tile.keys - key, d, eights);
    __syncthreads();

    Sum weights[kStep / 8] = {}, changes[kStep / 8] = {};  // [queries, keys]
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      add_scores<kDim>(weights, query.steps[step], keys, step);
      add_scores<kDim>(changes, gradient.steps[step], values, step);
    }
#pragma unroll
    for (int column = 0; column < kStep / 8; ++column)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8;
        const int position = mine + row + tile.behind(), at = key + column * 8 + lane % 4 * 2 + i % 2;
        const bool seen = (row < rows) & sees(window, position, at);
        const float weight = exp2f(weights[column][i] * scale_log2 - lse[i / 2]), p = seen ? weight : 0;
        changes[column][i] = p * (changes[column][i] - row_dot[i / 2]);
      }
    add_rows<kDim>(sums, changes, keys);
  }
  const float scales[2] = {scale, scale};
  store_rows(sums, scales, dq + q_at, q_stride, rows, d);
}

}  // namespace

void attention_backward(const Cuda& device, const Attention& shape, const Bf16* q, const Bf16* k, const Bf16* v, const Bf16* out,
                        const float* lse, const Bf16* d_out, Bf16* dq, Bf16* dk, Bf16* dv, float* row_dot) {
  if (shape.queries == 0) return;
  base::expects(!shape.pages, "keys in pages have no gradient");
  launch(device, "attention backward, rows", multiply_rows, blocks_for(shape.queries * shape.heads, kThreads / kWarp), kThreads, 0, shape,
         native(out), native(d_out), row_dot);
  const Operands operands{native(q), native(k), native(v), native(d_out), lse, row_dot};
  const bool eights = in_eights(shape.head_dim, q, k, v, d_out);
  const unsigned tiles = tile_numbers(shape);
  const auto run = [&]<int kDim>() {
    const std::size_t row = kStride<kDim> * sizeof(Bf16);
    launch(device, "attention backward, keys", key_gradients<kDim>, dim3(tiles, static_cast<unsigned>(shape.kv_heads)), kAttentionThreads,
           2 * (kTile + kQueryStep<kDim>) * row + 2 * kQueryStep<kDim> * sizeof(float), shape, operands, native(dk), native(dv), eights);
    launch(device, "attention backward, queries", query_gradients<kDim>, dim3(tiles, static_cast<unsigned>(shape.heads)),
           kAttentionThreads, 2 * kStep * row, shape, operands, native(dq), eights);
  };
  with_head_dim(shape.head_dim, run);
}

}  // namespace finetuned::kernels
