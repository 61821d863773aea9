#include "trainer/formats/hf_config.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "trainer/formats/json_fields.h"

namespace finetuned::formats {

namespace {

namespace json = base::json;

struct ArchitectureRow {
  Architecture architecture;
  std::string_view name;
};

constexpr ArchitectureRow kArchitectures[] = {{Architecture::kLlama, "LlamaForCausalLM"},
                                              {Architecture::kQwen2, "Qwen2ForCausalLM"},
                                              {Architecture::kQwen3, "Qwen3ForCausalLM"},
                                              {Architecture::kMistral, "MistralForCausalLM"}};
constexpr std::int64_t kMaxVocabulary = 1 << 24;
constexpr std::int64_t kMaxWidth = 1 << 18;
constexpr std::int64_t kMaxContext = std::int64_t{1} << 32;
constexpr std::int64_t kMistralDefaultWindow = 4096;  // of Hugging Face's MistralConfig, where the field is absent

Architecture read_architecture(const JsonFields& fields) {
  const json::value* list = fields.find("architectures");
  if (!list || !list->is_array() || list->get_array().size() != 1 || !list->get_array()[0].is_string())
    fields.refuse("architectures", "is not a list with one name");
  const std::string_view name = list->get_array()[0].get_string();
  for (const ArchitectureRow& row : kArchitectures)
    if (row.name == name) return row.architecture;
  fields.refuse("architectures", "'" + std::string(name.substr(0, 80)) +
                                     "' is not supported; LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM and "
                                     "MistralForCausalLM are");
}

/// YaRN's attention factor where only DeepSeek's mscale fields are given.
std::optional<double> yarn_attention_factor(const JsonFields& scaling, double factor) {
  if (scaling.find("attention_factor")) return scaling.number("attention_factor", 1e-6, 1e6);
  const double mscale = scaling.number_or("mscale", 0, 1e3, 0);
  const double all = scaling.number_or("mscale_all_dim", 0, 1e3, 0);
  if (mscale == 0 || all == 0) return std::nullopt;
  const auto of = [&](double m) { return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1.0; };
  return of(mscale) / of(all);
}

RopeScaling read_scaling(const json::object& object, const std::string& file, std::string_view field,
                         std::int64_t context) {
  const JsonFields scaling(object, file, std::string(field) + ".");
  const std::string kind = scaling.text_or("rope_type", scaling.text_or("type", "default"));
  RopeScaling result;
  if (kind == "default") return result;
  result.factor = scaling.number("factor", 1, 1e6);
  result.original_max_position_embeddings =
      scaling.integer_or("original_max_position_embeddings", 1, kMaxContext, context);
  if (kind == "linear") {
    result.kind = RopeScaling::Kind::kLinear;
  } else if (kind == "llama3") {
    result.kind = RopeScaling::Kind::kLlama3;
    result.original_max_position_embeddings = scaling.integer("original_max_position_embeddings", 1, kMaxContext);
    result.low_freq_factor = scaling.number("low_freq_factor", 1e-6, 1e6);
    result.high_freq_factor = scaling.number("high_freq_factor", 1e-6, 1e6);
    if (result.high_freq_factor <= result.low_freq_factor)
      scaling.refuse("high_freq_factor", "is not above low_freq_factor");
  } else if (kind == "yarn") {
    result.kind = RopeScaling::Kind::kYarn;
    result.beta_fast = scaling.number_or("beta_fast", 1e-6, 1e6, 32);
    result.beta_slow = scaling.number_or("beta_slow", 1e-6, 1e6, 1);
    result.truncate = scaling.boolean_or("truncate", true);
    result.attention_factor = yarn_attention_factor(scaling, result.factor);
  } else {
    scaling.refuse("rope_type", "'" + kind.substr(0, 40) + "' is not supported; linear, llama3 and yarn are");
  }
  return result;
}

void read_rope(const JsonFields& fields, const std::string& file, ModelConfig& config) {
  config.rope_theta = fields.number_or("rope_theta", 1, 1e12, 10000);
  for (const std::string_view field : {"rope_scaling", "rope_parameters"}) {
    const json::value* value = fields.find(field);
    if (!value) continue;
    if (!value->is_object()) fields.refuse(field, "is not an object");
    config.rope_scaling = read_scaling(value->get_object(), file, field, config.max_position_embeddings);
    const JsonFields inner(value->get_object(), file, std::string(field) + ".");
    config.rope_theta = inner.number_or("rope_theta", 1, 1e12, config.rope_theta);
    if (inner.number_or("partial_rotary_factor", 0, 1, 1) != 1)
      inner.refuse("partial_rotary_factor", "is not 1; models that rotate a part of each head are not supported");
  }
}

void read_window(const JsonFields& fields, ModelConfig& config) {
  const bool mistral = config.architecture == Architecture::kMistral;
  if (!mistral && fields.boolean_or("use_sliding_window", false))
    fields.refuse("use_sliding_window", "is true; windows on some layers only are not supported, set it to false");
  if (!mistral) return;
  const json::value* stated = fields.find("sliding_window");
  std::int64_t window = 0;  // null: every key is seen
  if (stated) window = fields.integer("sliding_window", 1, kMaxContext);
  config.sliding_window = window >= config.max_position_embeddings ? 0 : window;
}

/// Fields that would change the forward pass and that this engine does not carry out.
void refuse_unsupported(const JsonFields& fields) {
  const std::string activation = fields.text_or("hidden_act", "silu");
  if (activation != "silu") fields.refuse("hidden_act", "'" + activation.substr(0, 40) + "' is not supported; silu is");
  if (fields.find("quantization_config"))
    fields.refuse("quantization_config", "is set; give the unquantised F32, BF16 or F16 weights");
  if (fields.number_or("attention_dropout", 0, 1, 0) != 0)
    fields.refuse("attention_dropout", "is not 0; set it to 0 (dropout belongs on the adapter)");
  if (fields.number_or("partial_rotary_factor", 0, 1, 1) != 1)
    fields.refuse("partial_rotary_factor", "is not 1; models that rotate a part of each head are not supported");
  if (fields.find("num_experts") || fields.find("num_local_experts"))
    fields.refuse("num_experts", "is set; mixtures of experts are not supported");
  const json::value* kinds = fields.find("layer_types");
  if (!kinds) return;
  if (!kinds->is_array()) fields.refuse("layer_types", "is not a list");
  for (const json::value& kind : kinds->get_array())
    if (kind != "full_attention")
      fields.refuse("layer_types", "has another kind than full_attention, which is not supported");
}

void read_ids(const JsonFields& fields, ModelConfig& config) {
  const std::int64_t most = config.vocab_size - 1;
  const json::value* bos = fields.find("bos_token_id");
  if (bos && bos->is_int64()) config.bos_token_id = static_cast<std::int32_t>(fields.integer("bos_token_id", -1, most));
  if (config.bos_token_id && *config.bos_token_id < 0) config.bos_token_id.reset();
  const json::value* eos = fields.find("eos_token_id");
  if (!eos) return;
  const json::array list = eos->is_array() ? eos->get_array() : json::array{*eos};
  for (const json::value& id : list) {
    if (!id.is_int64() || id.get_int64() < -1 || id.get_int64() > most)
      fields.refuse("eos_token_id", "is not a token id, or a list of them, below vocab_size");
    const auto value = static_cast<std::int32_t>(id.get_int64());
    const auto& known = config.eos_token_ids;
    if (value >= 0 && std::find(known.begin(), known.end(), value) == known.end()) config.eos_token_ids.push_back(value);
  }
}

ModelConfig read_config(const json::object& object, const std::string& file) {
  const JsonFields fields(object, file);
  ModelConfig config;
  config.architecture = read_architecture(fields);
  refuse_unsupported(fields);
  config.vocab_size = fields.integer("vocab_size", 1, kMaxVocabulary);
  config.hidden_size = fields.integer("hidden_size", 1, kMaxWidth);
  config.intermediate_size = fields.integer("intermediate_size", 1, 4 * kMaxWidth);
  config.layers = fields.integer("num_hidden_layers", 1, 1024);
  config.heads = fields.integer("num_attention_heads", 1, 4096);
  config.kv_heads = fields.integer_or("num_key_value_heads", 1, 4096, config.heads);
  if (config.heads % config.kv_heads != 0)
    fields.refuse("num_key_value_heads", "does not divide num_attention_heads");
  if (!fields.find("head_dim") && config.hidden_size % config.heads != 0)
    fields.refuse("num_attention_heads", "does not divide hidden_size, and head_dim is not given");
  const bool qwen3 = config.architecture == Architecture::kQwen3;
  config.head_dim = fields.integer_or("head_dim", 1, 4096, qwen3 ? 128 : config.hidden_size / config.heads);
  if (config.head_dim % 2 != 0) fields.refuse("head_dim", "is odd; rotary positions need pairs");
  config.max_position_embeddings = fields.integer("max_position_embeddings", 1, kMaxContext);
  config.rms_norm_eps = fields.number_or("rms_norm_eps", 0, 1, 1e-6);
  config.tie_word_embeddings = fields.boolean_or("tie_word_embeddings", false);
  const bool attention_bias = fields.boolean_or("attention_bias", false);
  const bool mistral = config.architecture == Architecture::kMistral;
  const bool qwen2 = config.architecture == Architecture::kQwen2;
  config.qkv_bias = qwen2 || (attention_bias && !mistral);
  config.o_bias = attention_bias && !mistral && !qwen2;
  config.mlp_bias = config.architecture == Architecture::kLlama && fields.boolean_or("mlp_bias", false);
  config.qk_norm = qwen3;
  read_rope(fields, file, config);
  read_window(fields, config);
  if (mistral && !object.contains("sliding_window") && config.max_position_embeddings > kMistralDefaultWindow)
    config.sliding_window = kMistralDefaultWindow;
  read_ids(fields, config);
  return config;
}

}  // namespace

std::string_view architecture_name(Architecture architecture) {
  return kArchitectures[static_cast<std::size_t>(architecture)].name;
}

ModelConfig parse_model_config(std::string_view text, const std::string& file) {
  return read_config(parse_json_object(text, file), file);
}

ModelConfig read_model_config(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "config.json";
  ModelConfig config = read_config(read_json_object(file), file.string());
  const std::filesystem::path generation = directory / "generation_config.json";
  if (std::filesystem::is_regular_file(generation)) {
    const std::string name = generation.string();
    const json::object object = read_json_object(generation);
    read_ids(JsonFields(object, name), config);
  }
  return config;
}

}  // namespace finetuned::formats
