#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trainer/formats/hf_config.h"

namespace finetuned::model {

/// The keys (after RoPE) and values of some sequences' tokens so far. Belongs to one model; 2 layers
/// sequences capacity kv_heads head_dim numbers.
template <class Real>
struct KvCache {
  KvCache(const formats::ModelConfig& config, std::int64_t sequences, std::int64_t most_tokens)
      : capacity(most_tokens),
        lengths(static_cast<std::size_t>(sequences)),
        layer_size(sequences * most_tokens * config.kv_heads * config.head_dim),
        keys(static_cast<std::size_t>(config.layers * layer_size)),
        values(keys.size()) {}

  std::int64_t capacity = 0;          ///< tokens that a sequence may reach
  std::vector<std::int64_t> lengths;  ///< [sequences] tokens held
  std::int64_t layer_size = 0;
  std::vector<Real> keys;  ///< [layers, sequences, capacity, kv_heads, head_dim]
  std::vector<Real> values;
};

/// New tokens of one of a cache's sequences.
struct Continuation {
  std::int64_t sequence = 0;
  std::span<const std::int32_t> tokens;
};

}  // namespace finetuned::model
