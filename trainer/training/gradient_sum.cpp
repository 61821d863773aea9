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

std::int64_t longest_stretch(std::int64_t trained, int workers) { return trained / workers + 1; }

}  // namespace

std::int64_t exchange_numbers(std::int64_t trained, std::int64_t most_shards, int workers) {
  return (most_shards + 1) * longest_stretch(trained, workers);
}

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
  if constexpr (!Device::kHostMemory) {
    const auto trained = static_cast<std::int64_t>(gradients_.size());
    model_.device().use();
    if (group_) exchange_ = collective::GpuExchange::join(*group_, model_.device().description().uuid, model_.device().stream());
    if (exchange_) {
      const std::int64_t longest = longest_stretch(trained, group_->size());
      arena_.reserve(sum_, "gradient shards", longest);
      arena_.reserve(foreign_, "gradient shards", exchange_numbers(trained, most_shards, group_->size()) - longest);
    } else if (group_) {
      on_host_.assign(buffers_.size() + 1, std::vector<float>(gradients_.size()));
    }
  }
  if (arena_.bytes() > 0) arena_.allocate(model_.device());
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
  if (exchange_) return sum_between_gpus(mine, shards);
  if (group_) return sum_on_host(mine.end - mine.first);
  if (shards > 1)
    kernels::accumulate(model_.device(), buffers_[0], true, static_cast<std::int64_t>(gradients_.size()), gradients_.data());
}

template <class Device>
void GradientSum<Device>::sum_on_host(std::int64_t own_shards) {
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

template <class Device>
std::span<float> GradientSum<Device>::stretch(float* values, int rank) const {
  const std::size_t count = gradients_.size(), ranks = static_cast<std::size_t>(group_->size()), at = static_cast<std::size_t>(rank);
  const std::size_t begin = count * at / ranks;
  return {values + begin, count * (at + 1) / ranks - begin};
}

/// Each rank gets its stretch of all shards, adds them in their order, and gives the sum to all.
template <class Device>
void GradientSum<Device>::sum_between_gpus(ShardRange mine, std::int64_t shards) {
  using collective::GpuExchange;
  const int me = group_->rank(), ranks = group_->size();
  const auto own = [&](std::int64_t shard) {
    return shard + 1 < mine.end ? buffers_[static_cast<std::size_t>(shard - mine.first)] : gradients_.data();
  };
  const std::size_t size = stretch(gradients_.data(), me).size();
  const auto others = [&](const auto& each) {
    for (int rank = 0; rank < ranks; ++rank)
      if (rank != me) each(rank);
  };
  std::vector<GpuExchange::Outgoing> out;
  std::vector<GpuExchange::Incoming> in;
  std::vector<const float*> parts(static_cast<std::size_t>(shards));
  for (std::int64_t shard = mine.first; shard < mine.end; ++shard) {
    others([&](int rank) { out.push_back({rank, stretch(own(shard), rank)}); });
    parts[static_cast<std::size_t>(shard)] = stretch(own(shard), me).data();
  }
  float* place = foreign_;
  others([&](int rank) {
    const ShardRange theirs = shards_of(rank, ranks, shards);
    for (std::int64_t shard = theirs.first; shard < theirs.end; ++shard, place += size) {
      in.push_back({rank, {place, size}});
      parts[static_cast<std::size_t>(shard)] = place;
    }
  });
  exchange_->trade(out, in);
  for (std::int64_t shard = 0; shard < shards; ++shard)
    kernels::accumulate(model_.device(), parts[static_cast<std::size_t>(shard)], shard > 0, static_cast<std::int64_t>(size), sum_);
  const std::span<float> summed = stretch(gradients_.data(), me);
  model_.device().copy(summed.data(), sum_, static_cast<std::int64_t>(size));
  out.clear();
  in.clear();
  others([&](int rank) {
    out.push_back({rank, summed});
    in.push_back({rank, stretch(gradients_.data(), rank)});
  });
  exchange_->trade(out, in);
}

template class GradientSum<tensor::Cpu>;
template class GradientSum<tensor::Cuda>;

}  // namespace finetuned::training
