#pragma once

#include <cstdint>
#include <vector>

#include "trainer/tensor/any_device.h"
#include "trainer/text/token_row.h"

namespace finetuned::training {

inline constexpr std::int64_t kMostShards = 8;
/// Positions that a shard has at least, where there is more than one: with half of it the matrix products lose a twelfth
/// of their speed (tests/bench/step, 15M and 110M).
inline constexpr std::int64_t kShardTokens = 1024;
inline constexpr std::int64_t kShardTokensOfGpu = 16384;  ///< not measured yet: a wider product keeps more of it busy

/// kShardTokens or kShardTokensOfGpu.
std::int64_t shard_tokens(const tensor::DeviceSpec& device);

/// How many shards of `least` positions a step of so many positions in so many rows is cut into: clamp(tokens / least, 1,
/// min(8, rows)).
std::int64_t shard_count(std::int64_t tokens, std::int64_t rows, std::int64_t least = kShardTokens);

/// Cuts `chosen` rows (>= 1) into shard_count() runs in their order, none empty, of about as many positions
/// each: a row goes to the run in which its middle falls. A function of these rows alone, never of who
/// computes them: a step's sums are those of its shards, added in this order, and so have the same bits for
/// any number of workers.
std::vector<std::vector<std::int64_t>> cut_into_shards(const std::vector<text::TokenRow>& rows,
                                                       const std::vector<std::int64_t>& chosen,
                                                       std::int64_t least = kShardTokens);

/// Shards [first, end).
struct ShardRange {
  std::int64_t first = 0;
  std::int64_t end = 0;
};

/// Those of `shards` that worker `rank` of `workers` computes: ranges that follow each other and differ in
/// length by one at most; empty where there are fewer shards than workers.
ShardRange shards_of(int rank, int workers, std::int64_t shards);

}  // namespace finetuned::training
