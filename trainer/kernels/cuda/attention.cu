// Attention over tiles of keys with an online softmax (arXiv 2307.08691): a block takes 64 queries of a head, a warp 16 of them.

#include <cmath>

#include "trainer/kernels/attention.h"
#include "trainer/kernels/cuda/attention_tiles.cuh"

namespace finetuned::kernels {

using tensor::Bf16;
using tensor::Cuda;
using namespace cuda;

namespace {

constexpr int kKeys = 64;  // of a step
static_assert(kKeyPage % kKeys == 0, "a step's keys lie in one page");

/// The online softmax of the two rows that a lane holds of a Sum: its total is of the lane's own columns.
struct SoftmaxRows {
  float maximum[2] = {-INFINITY, -INFINITY};
  float total[2] = {};

  /// scores [16, kKeys] become e^(score - the greatest so far), 0 where not `all_seen` nor seen(row, column); sums and totals move
  /// to the new greatest.
  template <int kColumns, class Seen>
  __device__ __forceinline__ void weigh(Sum (&scores)[kKeys / 8], Sum (&sums)[kColumns], float scale_log2, bool all_seen,
                                        const Seen& seen) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    if (!all_seen) {
#pragma unroll
      for (int column = 0; column < kKeys / 8; ++column)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          scores[column][i] = seen(lane / 4 + i / 2 * 8, column * 8 + lane % 4 * 2 + i % 2) ? scores[column][i] : -INFINITY;
    }
    float step_maximum[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int column = 0; column < kKeys / 8; ++column)
#pragma unroll
      for (int i = 0; i < 4; ++i) step_maximum[i / 2] = fmaxf(step_maximum[i / 2], scores[column][i]);
    float base[2];  // what is subtracted: 0 where a row has not seen a key yet
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float next = fmaxf(maximum[half], row_max(step_maximum[half]));
      base[half] = next == -INFINITY ? 0 : next;
      const float shrink = exp2f((maximum[half] - base[half]) * scale_log2);
      total[half] *= shrink;
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
        sums[column][2 * half] *= shrink;
        sums[column][2 * half + 1] *= shrink;
      }
      maximum[half] = next;
    }
#pragma unroll
    for (int column = 0; column < kKeys / 8; ++column)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[column][i] = exp2f((scores[column][i] - base[i / 2]) * scale_log2);
        total[i / 2] += scores[column][i];
      }
  }
};

template <int kDim>
__global__ void __launch_bounds__(kAttentionThreads)
    attend(Attention shape, const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* out, float* lse,
           bool eights) {
  const TileOf tile = find_tile(shape, static_cast<int>(gridDim.x - 1 - blockIdx.x));  // those with the most keys first
  if (!tile.some) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto [d, group, q_stride, kv_stride, window] = widths_of(shape);
  const int head = static_cast<int>(blockIdx.y), kv_head = head / group;
  const int mine = tile.first + warp * 16, rows = tile.queries - mine;  // of this warp; beyond the last where <= 0
  const std::int64_t q_at = std::int64_t{tile.query_begin + mine} * q_stride + head * d;
  const float scale = 1 / sqrtf(static_cast<float>(d)), scale_log2 = scale * kLog2E;

  auto* const keys = dynamic_shared<__nv_bfloat16>();
  __nv_bfloat16* const values = keys + kKeys * kStride<kDim>;
  RowFragments<kDim> queries;
  load_fragments<kDim>(queries, q + q_at, q_stride, rows, d);
  Sum sums[kDim / 8] = {};
  SoftmaxRows rows_so_far;

  // Keys are cut into tiles from the sequence's start, so that a row's bits are its own.
  const int first_position = tile.first + tile.behind();
  const int last_position = min(tile.first + kTile, tile.queries) - 1 + tile.behind();
  const int first_key = max(0, first_position - window + 1);
  for (int key = first_key / kKeys * kKeys; key <= last_position; key += kKeys) {
    __syncthreads();  // the tile before is read
    const std::int64_t kv_at = tile.key_row(key) * kv_stride + kv_head * d;
    load_tile<kKeys, kDim>(keys, k + kv_at, kv_stride, tile.keys - key, d, eights);
    load_tile<kKeys, kDim>(values, v + kv_at, kv_stride, tile.keys - key, d, eights);
    __syncthreads();

    Sum scores[kKeys / 8] = {};
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step)
      add_scores<kDim>(scores, queries.steps[step], keys, step);

    const int position = mine + tile.behind();  // of the warp's first row
    const bool all_seen = key + kKeys - 1 <= position && key > position + 15 - window;
    rows_so_far.weigh(scores, sums, scale_log2, all_seen,
                      [&](int row, int column) { return sees(window, position + row, key + column); });

    add_rows<kDim>(sums, scores, values);
  }

  float shares[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = row_sum(rows_so_far.total[half]);
    shares[half] = 1 / total;
    const int row = lane / 4 + half * 8;
    if (row < rows && lane % 4 == 0)
      lse[std::int64_t{head} * shape.queries + tile.query_begin + mine + row] = rows_so_far.maximum[half] * scale + logf(total);
  }
  store_rows(sums, shares, out + q_at, q_stride, rows, d);
}

}  // namespace

void attention(const Cuda& device, const Attention& shape, const Bf16* q, const Bf16* k, const Bf16* v, Bf16* out, float* lse) {
  if (shape.queries == 0) return;
  const auto run = [&]<int kDim>() {
    const dim3 grid(tile_numbers(shape), static_cast<unsigned>(shape.heads));
    launch(device, "attention", attend<kDim>, grid, kAttentionThreads, 2 * kKeys * kStride<kDim> * sizeof(Bf16), shape, native(q), native(k),
           native(v), native(out), lse, in_eights(shape.head_dim, q, k, v));
  };
  with_head_dim(shape.head_dim, run);
}

}  // namespace finetuned::kernels
