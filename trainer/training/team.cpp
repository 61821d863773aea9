#include "trainer/training/team.h"

#include <algorithm>
#include <bit>
#include <string>

#include "base/errors.h"

namespace finetuned::training {

Team::Team(collective::Collective* group) : group_(group) {
  if (group_ && group_->size() > kMostShards)
    throw base::UsageError(std::to_string(group_->size()) + " workers are too many: a step has at most " +
                           std::to_string(kMostShards) + " shards to share; take that many at most");
}

Workforce Team::workforce(bool shared_base) const {
  if (!group_) return {};
  return {group_->size(), group_->local_size(), shared_base, group_->shared_bytes()};
}

ShardRange Team::mine(std::int64_t shards) const {
  return group_ ? shards_of(group_->rank(), group_->size(), shards) : ShardRange{0, shards};
}

std::int64_t Team::least(std::int64_t value) const {
  if (!group_) return value;
  const auto all = collective::gather_values(*group_, value);
  return *std::min_element(all.begin(), all.end());
}

void Team::hold_equal(double value, const char* what, std::int64_t step) const {
  if (!group_) return;
  const auto all = collective::gather_values(*group_, std::bit_cast<std::uint64_t>(value));
  for (int rank = 1; rank < group_->size(); ++rank)
    if (all[static_cast<std::size_t>(rank)] != all[0])
      throw collective::PeerLost(collective::rank_name(rank, group_->size()) + " has come to another result than rank 0: " + what +
                                 " at step " + std::to_string(step) + " differs; a device or its memory may be faulty");
}

std::optional<kernels::LossSums> Team::share(const ShardSums& mine, std::int64_t shards, bool stop) const {
  struct Share {
    ShardSums sums;
    std::int64_t stop;
  };
  kernels::LossSums total;
  if (!group_) {
    for (std::int64_t shard = 0; shard < shards; ++shard)
      total += mine[static_cast<std::size_t>(shard)];
    return stop ? std::nullopt : std::optional(total);
  }
  const auto all = collective::gather_values(*group_, Share{mine, stop ? 1 : 0});
  for (int rank = 0; rank < group_->size(); ++rank) {
    const Share& one = all[static_cast<std::size_t>(rank)];
    if (one.stop != 0) return std::nullopt;
    const ShardRange theirs = shards_of(rank, group_->size(), shards);
    for (std::int64_t shard = theirs.first; shard < theirs.end; ++shard)
      total += one.sums[static_cast<std::size_t>(shard)];
  }
  return total;
}

}  // namespace finetuned::training
