#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "trainer/collective/collective.h"
#include "trainer/collective/gpu_exchange.h"
#include "trainer/tensor/arena.h"
#include "trainer/model/transformer.h"
#include "trainer/training/shards.h"

namespace finetuned::training {

/// Buffers of the gradients' size that a worker needs on its device beside the model's own, for steps of `most_shards`:
/// alone the sum so far; of several workers all but one of its own shards.
std::int64_t gradient_buffers(std::int64_t most_shards, int workers);

/// Numbers that a worker on a GPU needs there beside those, where the workers exchange shards between their GPUs: a stretch of each
/// foreign shard, and one of their sum.
std::int64_t exchange_numbers(std::int64_t trained, std::int64_t most_shards, int workers);

/// Makes a step's gradient from those of its shards, ((shard 0 + shard 1) + shard 2) + ..., on every worker,
/// whoever computed them. Several workers add on the host; or, where each has a GPU of its own and NCCL, on these, each a stretch
/// of all shards. One of a run; its memory is taken at construction.
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
  void sum_on_host(std::int64_t own_shards);
  void sum_between_gpus(ShardRange mine, std::int64_t shards);
  /// The stretch of the gradient that a rank sums.
  std::span<float> stretch(float* values, int rank) const;

  model::Transformer<Device>& model_;
  collective::Collective* group_;
  std::span<float> gradients_;  // the model's
  tensor::Arena arena_;
  std::vector<float*> buffers_;
  std::unique_ptr<collective::GpuExchange> exchange_;
  float* foreign_ = nullptr;                 // where there is an exchange: stretches of the other workers' shards ...
  float* sum_ = nullptr;                     // ... and of the sum
  std::vector<std::vector<float>> on_host_;  // where there is none, and the device's memory is not the host's
};

}  // namespace finetuned::training
