#include "trainer/training/gradient_sum.h"

#include <algorithm>

#include "base/expects.h"

namespace finetuned::training {

namespace {

constexpr std::int64_t kBlock = std::int64_t{64} << 10;  // elements that a thread takes at once

/// All gradients lie in one piece.
std::span<float> gradients_of(const CpuTransformer& model) {
  const auto trained = model.trainables();
  base::expects(!trained.empty(), "a run trains something");
  float* const first = trained.front().gradient.data();
  return {first, trained.back().gradient.data() + trained.back().gradient.size()};
}

}  // namespace

std::int64_t GradientSum::buffers(std::int64_t most_shards, int workers) {
  if (workers == 1) return most_shards > 1 ? 1 : 0;
  return (most_shards + workers - 1) / workers - 1;
}

GradientSum::GradientSum(CpuTransformer& model, const tensor::Cpu& device, std::int64_t most_shards,
                         collective::Collective* group)
    : model_(model),
      device_(device),
      group_(group && group->size() > 1 ? group : nullptr),
      gradients_(gradients_of(model)),
      buffers_(static_cast<std::size_t>(buffers(most_shards, group ? group->size() : 1))) {
  for (float*& buffer : buffers_)
    arena_.reserve(buffer, "gradient shards", static_cast<std::int64_t>(gradients_.size()));
  if (!buffers_.empty()) arena_.allocate(device_);
}

void GradientSum::put(std::span<const float> from, bool add, std::span<float> to) {
  const auto size = static_cast<std::int64_t>(from.size());
  device_.pool().run((size + kBlock - 1) / kBlock, [&](std::int64_t block, int) {
    const std::int64_t begin = block * kBlock, end = std::min(size, begin + kBlock);
    const float* source = from.data();
    float* target = to.data();
    if (!add) {
      std::copy(source + begin, source + end, target + begin);
      return;
    }
    for (std::int64_t i = begin; i < end; ++i)
      target[i] = source[i] + target[i];
  });
}

void GradientSum::begin_shard(ShardRange mine, std::int64_t shard) {
  if (shard > mine.first) {  // what the shard before left would be lost
    const std::int64_t at = group_ ? shard - mine.first - 1 : 0;
    base::expects(at < static_cast<std::int64_t>(buffers_.size()),
                  "there is a buffer for each shard but the last");
    put(gradients_, !group_ && shard - mine.first > 1,
        {buffers_[static_cast<std::size_t>(at)], gradients_.size()});
  }
  model_.zero_gradients();
}

void GradientSum::finish(ShardRange mine, std::int64_t shards) {
  const std::int64_t own = mine.end - mine.first;
  if (!group_) {
    if (shards > 1) put({buffers_[0], gradients_.size()}, true, gradients_);
    return;
  }
  std::vector<std::span<const float>> parts;
  for (std::int64_t i = 0; i + 1 < own; ++i)
    parts.emplace_back(buffers_[static_cast<std::size_t>(i)], gradients_.size());
  if (own > 0) parts.emplace_back(gradients_);
  group_->sum_in_order(parts, gradients_);
}

}  // namespace finetuned::training
