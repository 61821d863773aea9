#pragma once

#include <algorithm>

#include "trainer/kernels/attention.h"

namespace finetuned::kernels {

// What attention's forward and backward have in common on the CPU: who meets whom.

inline constexpr std::int64_t kMostQueries = 96;

/// Queries and keys that meet at a time: multiples of every panel width, chosen by the head alone so that a
/// row's sums are made in the same order in any batch. Larger ones share their packing and row work among
/// more products; with wide heads they leave a thread's scratch.
struct Blocks {
  std::int64_t queries, keys;
};

inline std::int64_t round_up(std::int64_t count, std::int64_t to) {
  return (count + to - 1) / to * to;
}

/// One sequence and one query head; rows are counted from the sequence's start.
struct Lane {
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::int64_t first_query = 0;  ///< position of query 0
  std::int64_t query_at = 0, key_at = 0;
};

inline Lane lane_of(const Attention& shape, std::int64_t sequence) {
  Lane lane;
  lane.query_at = shape.cu_queries[sequence];
  lane.key_at = shape.key_begin[sequence];
  lane.queries = shape.cu_queries[sequence + 1] - lane.query_at;
  lane.keys = shape.key_end[sequence] - lane.key_at;
  lane.first_query = lane.keys - lane.queries;
  return lane;
}

/// The keys of a block [begin, begin + count) that a position sees: [from, to), counted from `begin`.
struct Visible {
  std::int64_t from = 0, to = 0;
};
inline Visible visible(const Attention& shape, std::int64_t position, std::int64_t begin,
                       std::int64_t count) {
  const std::int64_t first = shape.window > 0 ? std::max<std::int64_t>(0, position + 1 - shape.window) : 0;
  const std::int64_t from = std::clamp<std::int64_t>(first - begin, 0, count);
  return {from, std::clamp<std::int64_t>(position + 1 - begin, from, count)};
}

inline void clear_hidden(float* row, const Visible& seen, std::int64_t count) {
  std::fill(row, row + seen.from, 0.0f);
  std::fill(row + seen.to, row + count, 0.0f);
}

struct Strides {
  std::int64_t q, kv;
};
inline Strides strides_of(const Attention& shape) {
  return {shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim};
}

/// Query tile [row, row + rows) against the keys [begin, ...): whether any of it is seen.
inline bool meets(const Attention& shape, const Lane& lane, std::int64_t row, std::int64_t rows,
                  std::int64_t begin, std::int64_t count) {
  const std::int64_t last = lane.first_query + row + rows - 1;
  if (last < begin) return false;
  return shape.window == 0 || lane.first_query + row - shape.window + 1 < begin + count;
}

/// Visible pairs of a query and a key, times heads and head_dim.
inline double pair_flops(const Attention& shape) {
  double pairs = 0;
  for (std::int64_t sequence = 0; sequence < shape.sequences; ++sequence) {
    const Lane lane = lane_of(shape, sequence);
    const double queries = static_cast<double>(lane.queries), keys = static_cast<double>(lane.keys);
    const double window = static_cast<double>(shape.window);
    pairs += shape.window > 0 && window < keys ? queries * window : queries * (keys - (queries - 1) / 2);
  }
  return pairs * static_cast<double>(shape.heads * shape.head_dim);
}

/// Numbers in queries and keys, or in the result and the values: half of what attention reads and writes.
inline double elements(const Attention& shape) {
  const double queries = shape.cu_queries[shape.sequences];
  double keys = 0;
  for (std::int64_t sequence = 0; sequence < shape.sequences; ++sequence)
    keys += static_cast<double>(lane_of(shape, sequence).keys);
  return 2.0 * static_cast<double>(shape.head_dim) *
         (queries * static_cast<double>(shape.heads) + keys * static_cast<double>(shape.kv_heads));
}

}  // namespace finetuned::kernels
