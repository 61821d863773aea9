#include "trainer/training/gradient_sum.h"

#include "base/expects.h"
#include "trainer/kernels/reduce.h"

namespace finetuned::training {

namespace {

/// All gradients lie in one piece.
template <class Device>
std::span<float> gradients_of(const model::Transformer<Device>& model) {
  const auto trained = model.trainables();
  base::expects(!trained.empty(), "a run trains something");
  float* const first = trained.front().gradient.data();
  return {first, trained.back().gradient.data() + trained.back().gradient.size()};
}

}  // namespace

std::int64_t gradient_buffers(std::int64_t most_shards, int workers) {
  if (workers == 1) return most_shards > 1 ? 1 : 0;
  return (most_shards + workers - 1) / workers - 1;
}

template <class Device>
GradientSum<Device>::GradientSum(model::Transformer<Device>& model, std::int64_t most_shards, collective::Collective* group)
    : model_(model),
      group_(group && group->size() > 1 ? group : nullptr),
      gradients_(gradients_of(model)),
      buffers_(static_cast<std::size_t>(gradient_buffers(most_shards, group ? group->size() : 1))) {
  for (float*& buffer : buffers_)
    arena_.reserve(buffer, "gradient shards", static_cast<std::int64_t>(gradients_.size()));
  if (!buffers_.empty()) arena_.allocate(model_.device());
  if (group_ && !Device::kHostMemory) on_host_.assign(buffers_.size() + 1, std::vector<float>(gradients_.size()));
}

template <class Device>
void GradientSum<Device>::begin_shard(ShardRange mine, std::int64_t shard) {
  if (shard > mine.first) {  // what the shard before left would be lost
    const std::int64_t at = group_ ? shard - mine.first - 1 : 0;
    base::expects(at < static_cast<std::int64_t>(buffers_.size()),
                  "there is a buffer for each shard but the last");
    kernels::accumulate(model_.device(), gradients_.data(), !group_ && shard - mine.first > 1,
                        static_cast<std::int64_t>(gradients_.size()), buffers_[static_cast<std::size_t>(at)]);
  }
  model_.zero_gradients();
}

template <class Device>
void GradientSum<Device>::finish(ShardRange mine, std::int64_t shards) {
  if (group_) return sum_over_workers(mine.end - mine.first);
  if (shards > 1)
    kernels::accumulate(model_.device(), buffers_[0], true, static_cast<std::int64_t>(gradients_.size()), gradients_.data());
}

template <class Device>
void GradientSum<Device>::sum_over_workers(std::int64_t own_shards) {
  std::vector<std::span<const float>> parts;
  for (std::int64_t i = 0; i < own_shards; ++i) {
    const float* const from = i + 1 < own_shards ? buffers_[static_cast<std::size_t>(i)] : gradients_.data();
    if constexpr (Device::kHostMemory) {
      parts.emplace_back(from, gradients_.size());
    } else {
      std::vector<float>& copy = on_host_[static_cast<std::size_t>(i)];
      model_.device().copy_out(copy.data(), from, static_cast<std::int64_t>(copy.size()));
      parts.emplace_back(copy);
    }
  }
  if constexpr (Device::kHostMemory) {
    group_->sum_in_order(parts, gradients_);
  } else {
    std::vector<float>& total = on_host_.back();
    group_->sum_in_order(parts, total);
    model_.device().copy_in(gradients_.data(), total.data(), static_cast<std::int64_t>(total.size()));
  }
}

template class GradientSum<tensor::Cpu>;
template class GradientSum<tensor::Cuda>;

}  // namespace finetuned::training
