#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "trainer/collective/collective.h"
#include "trainer/kernels/cross_entropy.h"
#include "trainer/training/plan.h"
#include "trainer/training/shards.h"

namespace finetuned::training {

/// Of each shard of a step, by its number.
using ShardSums = std::array<kernels::LossSums, kMostShards>;

/// The workers of a run as one of them sees them; of a run without a group, it alone.
class Team {
 public:
  /// Throws UsageError for more workers than a step can have shards.
  explicit Team(collective::Collective* group);

  collective::Collective* group() const { return group_; }
  /// Whether this worker is the one that speaks: to the observer, and to the disk.
  bool leads() const { return !group_ || group_->rank() == 0; }
  Workforce workforce(bool shared_base) const;
  /// Those that this worker computes.
  ShardRange mine(std::int64_t shards) const;

  /// The least value that any worker gives.
  std::int64_t least(std::int64_t value) const;
  /// The sums of all shards, added in their order, where each worker gives those of its own range; nothing
  /// where any of them wants to stop.
  std::optional<kernels::LossSums> share(const ShardSums& mine, std::int64_t shards, bool stop) const;
  /// Throws PeerLost on every worker, naming one, where `what` at `step` is not of the same bits on all.
  void hold_equal(double value, const char* what, std::int64_t step) const;
  /// Returns when every worker is here.
  void meet() const { least(0); }

 private:
  collective::Collective* group_;
};

}  // namespace finetuned::training
