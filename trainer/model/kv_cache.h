#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trainer/formats/hf_config.h"
#include "trainer/tensor/buffer.h"

namespace finetuned::model {

/// The keys (after RoPE) and values of some sequences' tokens so far, on the device. Belongs to one model; 2 layers
/// sequences capacity kv_heads head_dim numbers.
template <class Device>
struct KvCache {
  using Real = typename Device::Real;

  KvCache(const Device& device, const formats::ModelConfig& config, std::int64_t sequences, std::int64_t most_tokens)
      : capacity(most_tokens),
        lengths(static_cast<std::size_t>(sequences)),
        layer_size(sequences * most_tokens * config.kv_heads * config.head_dim),
        memory(device.allocate(2 * static_cast<std::size_t>(config.layers * layer_size) * sizeof(Real))),
        keys(static_cast<Real*>(memory.data())),
        values(keys + config.layers * layer_size) {}

  static std::uint64_t planned_bytes(const formats::ModelConfig& config, std::int64_t sequences, std::int64_t most_tokens) {
    return static_cast<std::uint64_t>(2 * config.layers * sequences * most_tokens * config.kv_heads * config.head_dim) * sizeof(Real);
  }

  std::int64_t capacity = 0;          ///< tokens that a sequence may reach
  std::vector<std::int64_t> lengths;  ///< [sequences] tokens held
  std::int64_t layer_size = 0;
  tensor::Buffer memory;
  Real* keys;  ///< [layers, sequences, capacity, kv_heads, head_dim]
  Real* values;
};

/// New tokens of one of a cache's sequences.
struct Continuation {
  std::int64_t sequence = 0;
  std::span<const std::int32_t> tokens;
};

}  // namespace finetuned::model
