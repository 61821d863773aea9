#pragma once

#include <cstdint>
#include <vector>

#include "trainer/formats/hf_config.h"

namespace finetuned::model {

/// The keys (after RoPE) and values of one sequence's tokens so far. Belongs to one model; 2 layers capacity
/// kv_heads head_dim numbers.
template <class Real>
struct KvCache {
  KvCache(const formats::ModelConfig& config, std::int64_t most_tokens)
      : capacity(most_tokens),
        layer_size(most_tokens * config.kv_heads * config.head_dim),
        keys(static_cast<std::size_t>(config.layers * layer_size)),
        values(keys.size()) {}

  std::int64_t length = 0;  ///< tokens held
  std::int64_t capacity = 0;
  std::int64_t layer_size = 0;
  std::vector<Real> keys;  ///< [layers, capacity, kv_heads, head_dim]
  std::vector<Real> values;
};

}  // namespace finetuned::model
