#include "trainer/formats/hf_config.h"

namespace finetuned::formats {

namespace {

bool has_bias(const ModelConfig& config, std::string_view module) {
  if (module == "q_proj" || module == "k_proj" || module == "v_proj") return config.qkv_bias;
  return module == "o_proj" ? config.o_bias : config.mlp_bias;
}

}  // namespace

std::optional<LinearShape> linear_shape(const ModelConfig& config, std::string_view module) {
  const std::int64_t queries = config.heads * config.head_dim;
  const std::int64_t keys = config.kv_heads * config.head_dim;
  if (module == "q_proj") return LinearShape{queries, config.hidden_size};
  if (module == "k_proj" || module == "v_proj") return LinearShape{keys, config.hidden_size};
  if (module == "o_proj") return LinearShape{config.hidden_size, queries};
  if (module == "gate_proj" || module == "up_proj") return LinearShape{config.intermediate_size, config.hidden_size};
  if (module == "down_proj") return LinearShape{config.hidden_size, config.intermediate_size};
  return std::nullopt;
}

std::string linear_path(std::int64_t layer, std::string_view module) {
  const bool mlp = module == "gate_proj" || module == "up_proj" || module == "down_proj";
  return "model.layers." + std::to_string(layer) + (mlp ? ".mlp." : ".self_attn.") + std::string(module);
}

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  std::vector<ExpectedTensor> all;
  all.push_back({"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}});
  const auto linear = [&](std::int64_t layer, std::string_view module) {
    const LinearShape shape = *linear_shape(config, module);
    const std::string path = linear_path(layer, module);
    all.push_back({path + ".weight", {shape.out, shape.in}});
    if (has_bias(config, module)) all.push_back({path + ".bias", {shape.out}});
  };
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    all.push_back({prefix + "input_layernorm.weight", {config.hidden_size}});
    for (const char* module : {"q_proj", "k_proj", "v_proj"}) linear(layer, module);
    if (config.qk_norm) {
      all.push_back({prefix + "self_attn.q_norm.weight", {config.head_dim}});
      all.push_back({prefix + "self_attn.k_norm.weight", {config.head_dim}});
    }
    linear(layer, "o_proj");
    all.push_back({prefix + "post_attention_layernorm.weight", {config.hidden_size}});
    for (const char* module : {"gate_proj", "up_proj", "down_proj"}) linear(layer, module);
  }
  all.push_back({"model.norm.weight", {config.hidden_size}});
  if (!config.tie_word_embeddings) all.push_back({"lm_head.weight", {config.vocab_size, config.hidden_size}});
  return all;
}

std::int64_t parameter_count(const ModelConfig& config) {
  std::int64_t count = 0;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    std::int64_t elements = 1;
    for (const std::int64_t size : tensor.shape) elements *= size;
    count += elements;
  }
  return count;
}

}  // namespace finetuned::formats
