#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trainer/collective/collective.h"
#include "trainer/tensor/arena.h"
#include "trainer/model/transformer.h"
#include "trainer/training/shards.h"

namespace finetuned::training {

/// Buffers of the gradients' size that a worker needs on its device beside the model's own, for steps of `most_shards`:
/// alone the sum so far; of several workers all but one of its own shards.
std::int64_t gradient_buffers(std::int64_t most_shards, int workers);

/// Makes a step's gradient from those of its shards, ((shard 0 + shard 1) + shard 2) + ..., on every worker,
/// whoever computed them. Several workers add on the host; a GPU's shards are copied there for it. One of a run; its memory
/// is taken at construction.
template <class Device>
class GradientSum {
 public:
  /// `group` is null for a worker alone. Both outlive this.
  GradientSum(model::Transformer<Device>& model, std::int64_t most_shards, collective::Collective* group);

  /// Before the first micro-batch of each of this worker's shards, in their order.
  void begin_shard(ShardRange mine, std::int64_t shard);
  /// When the last one is done: the model's gradients become those of the step, of `shards` shards.
  void finish(ShardRange mine, std::int64_t shards);

 private:
  void sum_over_workers(std::int64_t own_shards);

  model::Transformer<Device>& model_;
  collective::Collective* group_;
  std::span<float> gradients_;  // the model's
  tensor::Arena arena_;
  std::vector<float*> buffers_;
  std::vector<std::vector<float>> on_host_;  // of several workers, where the device's memory is not the host's
};

}  // namespace finetuned::training
