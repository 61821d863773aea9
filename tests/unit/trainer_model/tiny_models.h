#pragma once

#include <cmath>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "trainer/kernels/counter_rng.h"
#include "trainer/model/transformer.h"

namespace finetuned::model {

/// A model small enough for finite differences, with every feature of its family switched on.
struct TinyModel {
  std::string name;
  formats::ModelConfig config;
};
/// GoogleTest's name for it: without this it would print the bytes.
inline void PrintTo(const TinyModel& model, std::ostream* out) { *out << model.name; }

inline formats::ModelConfig tiny_config(formats::Architecture architecture) {
  formats::ModelConfig config;
  config.architecture = architecture;
  config.vocab_size = 37;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 6;
  config.max_position_embeddings = 64;
  config.rms_norm_eps = 1e-5;
  return config;
}

inline std::vector<TinyModel> tiny_models() {
  std::vector<TinyModel> models;
  auto llama = tiny_config(formats::Architecture::kLlama);
  models.push_back({"llama_untied", llama});
  llama.tie_word_embeddings = true;
  llama.o_bias = llama.qkv_bias = llama.mlp_bias = true;
  llama.kv_heads = 4;
  models.push_back({"llama_tied_biased", llama});
  auto qwen2 = tiny_config(formats::Architecture::kQwen2);
  qwen2.qkv_bias = true;
  qwen2.tie_word_embeddings = true;
  models.push_back({"qwen2", qwen2});
  auto qwen3 = tiny_config(formats::Architecture::kQwen3);
  qwen3.qk_norm = true;
  qwen3.head_dim = 10;
  models.push_back({"qwen3", qwen3});
  auto mistral = tiny_config(formats::Architecture::kMistral);
  mistral.kv_heads = 1;
  mistral.sliding_window = 5;
  models.push_back({"mistral_window", mistral});
  return models;
}

inline std::uint64_t text_key(const std::string& text) {
  std::uint64_t key = 7;
  for (const char c : text)
    key = kernels::mix(key ^ static_cast<unsigned char>(c));
  return key;
}

/// Values that leave nothing at rest: norms about 1, biases about 0.1, matrices with outputs of order 1.
inline WeightSource lively_weights(std::uint64_t seed = 1) {
  return [seed](const std::string& name, std::span<float> out) {
    const bool norm = name.ends_with("norm.weight");
    const double spread = norm ? 0.2 : name.ends_with(".bias") ? 0.1 : 0.35;
    const std::uint64_t key = kernels::random_key(seed, text_key(name));
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<float>((norm ? 1 : 0) + spread * (2 * kernels::random_uniform(key, i) - 1));
  };
}

/// Rows of the given lengths; about a third of the labels are not supervised.
inline std::vector<text::TokenRow> random_rows(const std::vector<int>& lengths, std::int64_t vocabulary,
                                               std::uint64_t seed = 3) {
  std::vector<text::TokenRow> rows;
  for (std::size_t r = 0; r < lengths.size(); ++r) {
    text::TokenRow row;
    for (int i = 0; i < lengths[r]; ++i) {
      const std::uint64_t key = kernels::random_key(seed, r, static_cast<std::uint64_t>(i));
      row.ids.push_back(
          static_cast<std::int32_t>(kernels::random_bits(key, 0) % static_cast<std::uint64_t>(vocabulary)));
      row.labels.push_back(kernels::random_bits(key, 1) % 3 == 0 ? text::kIgnoreLabel : row.ids.back());
    }
    row.labels.back() = row.ids.back();
    rows.push_back(row);
  }
  return rows;
}

inline PackedBatch pack(const std::vector<text::TokenRow>& rows, std::uint64_t first_key = 0) {
  PackedBatch batch;
  for (std::size_t i = 0; i < rows.size(); ++i)
    batch.append(rows[i], first_key + i);
  return batch;
}

inline ModelSettings lora_settings(double dropout = 0) {
  ModelSettings settings;
  settings.mode = Mode::kLora;
  settings.max_tokens = 64;
  settings.max_rows = 8;
  settings.lora.rank = 3;
  settings.lora.alpha = 6;
  settings.lora.dropout = dropout;
  settings.lora.seed = 11;
  settings.lora.target_modules.assign(std::begin(formats::kLinearModules), std::end(formats::kLinearModules));
  return settings;
}

/// B is zero at first, which would hide half of the gradients: gives every adapter value something.
template <class Device>
void stir_adapter(Transformer<Device>& model) {
  for (const auto& trainable : model.trainables()) {
    const std::uint64_t key = text_key(trainable.name);
    for (std::size_t i = 0; i < trainable.value.size(); ++i)
      trainable.value[i] = static_cast<float>(0.3 * (2 * kernels::random_uniform(key, i) - 1));
  }
}

}  // namespace finetuned::model
