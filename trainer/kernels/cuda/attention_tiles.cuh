#pragma once

// What forward and backward attention share: which tile of which sequence a block treats, and how tiles come to shared memory.

#include "trainer/kernels/attention.h"
#include "trainer/kernels/cuda/mma.cuh"

namespace finetuned::kernels::cuda {

inline constexpr int kAttentionThreads = 128;  // four warps of 16 rows each
inline constexpr int kTile = 64;               // rows of a block: queries, or keys in the pass over keys
inline constexpr float kLog2E = 1.4426950408889634f;

/// Rows of shared memory: 16 bytes more than the head, so that a fragment's rows lie in different banks.
template <int kDim>
inline constexpr int kStride = kDim + 8;

/// Calls run.operator()<kDim>() with the narrowest tile that holds a head.
template <class Run>
void with_head_dim(std::int64_t head_dim, const Run& run) {
  base::expects(head_dim % 2 == 0 && head_dim <= 128, "a head is at most 128 wide on this device");
  if (head_dim <= 64) return run.template operator()<64>();
  if (head_dim <= 96) return run.template operator()<96>();
  run.template operator()<128>();
}

/// A shape's numbers as a kernel counts with them.
struct Widths {
  int d;         ///< of a head
  int group;     ///< heads that read one key head
  int q_stride;  ///< from a query to the next
  int kv_stride;
  int window;    ///< keys that a query sees; kNoWindow where all
};
inline constexpr int kNoWindow = 1 << 30;  // beyond any position, and no sum of it with one overflows
__device__ __forceinline__ Widths widths_of(const Attention& shape) {
  const int d = static_cast<int>(shape.head_dim), heads = static_cast<int>(shape.heads), kv_heads = static_cast<int>(shape.kv_heads);
  const bool all = shape.window == 0 || shape.window > kNoWindow;
  return {d, heads / kv_heads, heads * d, kv_heads * d, all ? kNoWindow : static_cast<int>(shape.window)};
}

/// A block's tile: rows first.. of a sequence, counted from its start.
struct TileOf {
  bool some = false;  ///< blocks beyond the last tile have none
  int first = 0;
  int queries = 0, keys = 0;  ///< of the sequence
  int query_begin = 0, key_begin = 0;
  const std::int32_t* pages = nullptr;  ///< of the sequence
  /// The row of the sequence's key `key`; those up to the page's end lie behind it.
  __device__ std::int64_t key_row(int key) const {
    return pages ? std::int64_t{pages[key / static_cast<int>(kKeyPage)]} * kKeyPage + key % static_cast<int>(kKeyPage) : std::int64_t{key_begin + key};
  }
  __device__ int behind() const { return keys - queries; }  ///< keys before the first query's own
};

/// Tiles of kTile queries are numbered so that a sequence is found by its number: its first one is cu_queries / kTile + the number of
/// sequences before it, which leaves room for as many as it can have, and some numbers to none.
__device__ __forceinline__ int first_tile(const Attention& shape, int sequence) { return shape.cu_queries[sequence] / kTile + sequence; }
/// How many numbers there are.
inline unsigned tile_numbers(const Attention& shape) { return static_cast<unsigned>(shape.queries / kTile + shape.sequences); }

__device__ inline TileOf find_tile(const Attention& shape, int number) {
  int low = 0, high = static_cast<int>(shape.sequences) - 1;  // the last whose first tile is not beyond
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (first_tile(shape, middle) <= number) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  TileOf tile;
  tile.first = (number - first_tile(shape, low)) * kTile;
  tile.query_begin = shape.cu_queries[low];
  tile.queries = shape.cu_queries[low + 1] - tile.query_begin;
  tile.key_begin = shape.key_begin[low];
  tile.keys = shape.key_end[low] - tile.key_begin;
  tile.pages = shape.pages ? shape.pages + low * shape.most_pages : nullptr;
  tile.some = tile.first < tile.queries;
  return tile;
}

/// Whether the query at `position` among the keys sees `key`.
__device__ __forceinline__ bool sees(int window, int position, int key) {
  return (key <= position) & (key > position - window);
}

/// to [kRows, kDim] = rows of `from`, `row_stride` apart; zero beyond `rows` and `size`.
template <int kRows, int kDim>
__device__ void load_tile(__nv_bfloat16* to, const __nv_bfloat16* from, int row_stride, int rows, int size, bool eights) {
  constexpr int kPacks = kDim / 8, kLoads = kRows * kPacks / kAttentionThreads;
  static_assert(kRows * kPacks % kAttentionThreads == 0);
  const int thread = static_cast<int>(threadIdx.x);
  if (eights) {
    uint4 packs[kLoads];  // all on their way before the first is stored
#pragma unroll
    for (int load = 0; load < kLoads; ++load) {
      const int i = thread + load * kAttentionThreads, row = i / kPacks, column = i % kPacks * 8;
      packs[load] = uint4{};
      if (row < rows && column < size) packs[load] = *reinterpret_cast<const uint4*>(from + row * row_stride + column);
    }
#pragma unroll
    for (int load = 0; load < kLoads; ++load) {
      const int i = thread + load * kAttentionThreads, row = i / kPacks, column = i % kPacks * 8;
      *reinterpret_cast<uint4*>(to + row * kStride<kDim> + column) = packs[load];
    }
    return;
  }
#pragma unroll 1
  for (int i = thread; i < kRows * kDim; i += kAttentionThreads) {
    const int row = i / kDim, column = i % kDim;
    to[row * kStride<kDim> + column] = row < rows && column < size ? from[row * row_stride + column] : __float2bfloat16_rn(0);
  }
}

/// to [kCount] = the first `count` of `from`; zero beyond.
template <int kCount>
__device__ void load_numbers(float* to, const float* from, int count) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < kCount) to[i] = i < count ? from[i] : 0;
}

/// 16 rows as left operands over the head's columns.
template <int kDim>
struct RowFragments {
  Left steps[kDim / 16];
};

/// This warp's 16 rows from where they lie in memory; zero beyond `rows` and `size`.
template <int kDim>
__device__ void load_fragments(RowFragments<kDim>& to, const __nv_bfloat16* from, int row_stride, int rows,
                               int size) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i % 2 * 8, column = step * 16 + lane % 4 * 2 + i / 2 * 8;
      to.steps[step][i] = row < rows && column < size ? word_at(from + row * row_stride + column) : 0;
    }
}

/// rows [16, kColumns * 8] times `columns`, rows of shared memory each: sums += rows columns^T.
template <int kDim, int kColumns>
__device__ __forceinline__ void add_scores(Sum (&sums)[kColumns], const Left& rows, const __nv_bfloat16* columns, int step) {
#pragma unroll
  for (int column = 0; column < kColumns; ++column) {
    Right b;
    load_right(b, columns + column * 8 * kStride<kDim> + step * 16, kStride<kDim>);
    mma(sums[column], rows, b);
  }
}

/// sums [16, kDim] += weights [16, kColumns * 8] times as many rows of shared memory.
template <int kDim, int kColumns>
__device__ __forceinline__ void add_rows(Sum (&sums)[kDim / 8], const Sum (&weights)[kColumns], const __nv_bfloat16* rows) {
#pragma unroll
  for (int step = 0; step < kColumns / 2; ++step) {
    Left left;
    as_left(left, weights[2 * step], weights[2 * step + 1]);
#pragma unroll
    for (int column = 0; column < kDim / 8; column += 2) {
      Right first, second;
      load_right_rows(first, second, rows + step * 16 * kStride<kDim> + column * 8, kStride<kDim>);
      mma(sums[column], left, first);
      mma(sums[column + 1], left, second);
    }
  }
}

/// Rows of a Sum's accumulators, 8 columns each, to `to`, where they lie within `rows` and `size`.
template <int kColumns>
__device__ void store_rows(const Sum (&sums)[kColumns], const float (&factors)[2], __nv_bfloat16* to, int row_stride,
                           int rows, int size) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int column = 0; column < kColumns; ++column)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, at = column * 8 + lane % 4 * 2 + i % 2;
      if (row < rows && at < size) to[row * row_stride + at] = __float2bfloat16_rn(sums[column][i] * factors[i / 2]);
    }
}

}  // namespace finetuned::kernels::cuda
