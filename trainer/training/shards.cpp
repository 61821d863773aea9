#include "trainer/training/shards.h"

#include <algorithm>

#include "base/expects.h"

namespace finetuned::training {

namespace {

std::int64_t size_of(const std::vector<text::TokenRow>& rows, std::int64_t row) {
  return static_cast<std::int64_t>(rows[static_cast<std::size_t>(row)].ids.size());
}

}  // namespace

std::int64_t shard_tokens(const tensor::DeviceSpec& device) {
  return device.is_cuda() ? kShardTokensOfGpu : kShardTokens;
}

std::int64_t shard_count(std::int64_t tokens, std::int64_t rows, std::int64_t least) {
  return std::clamp<std::int64_t>(tokens / least, 1, std::min(kMostShards, rows));
}

std::vector<std::vector<std::int64_t>> cut_into_shards(const std::vector<text::TokenRow>& rows,
                                                       const std::vector<std::int64_t>& chosen, std::int64_t least) {
  base::expects(!chosen.empty(), "a step has rows");
  std::int64_t tokens = 0;
  for (const std::int64_t row : chosen)
    tokens += size_of(rows, row);
  const auto count = static_cast<std::int64_t>(chosen.size());
  const std::int64_t wanted = shard_count(tokens, count, least);
  std::vector<std::vector<std::int64_t>> shards;
  std::int64_t before = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = chosen[static_cast<std::size_t>(i)], size = size_of(rows, row);
    const auto made = static_cast<std::int64_t>(shards.size());
    const bool due = (2 * before + size) * wanted >= 2 * tokens * made;  // its middle lies beyond those made
    const bool pressing = count - i == wanted - made;                    // each of the rest needs a row
    if (made == 0 || (made < wanted && (due || pressing))) shards.emplace_back();
    shards.back().push_back(row);
    before += size;
  }
  base::expects(static_cast<std::int64_t>(shards.size()) == wanted, "a step is cut into its shards");
  return shards;
}

ShardRange shards_of(int rank, int workers, std::int64_t shards) {
  base::expects(rank >= 0 && rank < workers, "a worker is one of its team");
  return {shards * rank / workers, shards * (rank + 1) / workers};
}

}  // namespace finetuned::training
