#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trainer/collective/collective.h"
#include "trainer/tensor/arena.h"
#include "trainer/training/output.h"
#include "trainer/training/shards.h"

namespace finetuned::training {

/// Makes a step's gradient from those of its shards, ((shard 0 + shard 1) + shard 2) + ..., on every worker,
/// whoever computed them. One of a run; its memory is taken at construction.
class GradientSum {
 public:
  /// Buffers of the gradients' size that a worker needs beside the model's own, for steps of `most_shards`:
  /// alone the sum so far; of several workers all but one of its own shards.
  static std::int64_t buffers(std::int64_t most_shards, int workers);

  /// `group` is null for a worker alone. Both outlive this.
  GradientSum(CpuTransformer& model, const tensor::Cpu& device, std::int64_t most_shards,
              collective::Collective* group);

  /// Before the first micro-batch of each of this worker's shards, in their order.
  void begin_shard(ShardRange mine, std::int64_t shard);
  /// When the last one is done: the model's gradients become those of the step, of `shards` shards.
  void finish(ShardRange mine, std::int64_t shards);

 private:
  /// to[i] = from[i], or from[i] + to[i].
  void put(std::span<const float> from, bool add, std::span<float> to);

  CpuTransformer& model_;
  const tensor::Cpu& device_;
  collective::Collective* group_;
  std::span<float> gradients_;  // the model's
  tensor::Arena arena_;
  std::vector<float*> buffers_;
};

}  // namespace finetuned::training
