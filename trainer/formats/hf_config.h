#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace finetuned::formats {

class Weights;

enum class Architecture { kLlama, kQwen2, kQwen3, kMistral };

std::string_view architecture_name(Architecture architecture);  ///< `LlamaForCausalLM`, ...

/// How rotary frequencies are stretched beyond the context that the model was pretrained with. Field names and defaults
/// are those of Hugging Face's config.json; the formulas: linear (position interpolation) inv_freq / factor; llama3:
/// Meta's wavelength-dependent blend; yarn: arXiv 2309.00071.
struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3, kYarn };
  Kind kind = Kind::kNone;
  double factor = 1;
  std::int64_t original_max_position_embeddings = 0;  ///< llama3, yarn; max_position_embeddings where absent
  double low_freq_factor = 1;                         ///< llama3
  double high_freq_factor = 4;                        ///< llama3
  double beta_fast = 32;                              ///< yarn
  double beta_slow = 1;                               ///< yarn
  std::optional<double> attention_factor;             ///< yarn: scales cos and sin; 0.1 ln(factor) + 1 where absent
  bool truncate = true;                               ///< yarn: the correction range is rounded to whole dimensions
};

/// config.json of a supported base model, checked: sizes are positive and bounded, heads divide, no field that would
/// change the forward pass is ignored.
struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;   ///< divides heads
  std::int64_t head_dim = 0;   ///< even; not always hidden_size / heads
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;       ///< q, k, v have a bias: Qwen2 always, others by `attention_bias`
  bool o_bias = false;         ///< o has one: by `attention_bias` (Llama, Qwen3)
  bool mlp_bias = false;       ///< gate, up, down have one: Llama's `mlp_bias`
  bool qk_norm = false;        ///< Qwen3: RMSNorm over head_dim of q and k, before RoPE
  std::int64_t sliding_window = 0;  ///< keys a query sees, itself included; 0: all
  std::optional<std::int32_t> bos_token_id;
  std::vector<std::int32_t> eos_token_ids;  ///< none, one or several
};

/// Reads `directory`/config.json, and further end-of-text ids from generation_config.json where there is one. Throws FormatError naming the field and what to do.
ModelConfig read_model_config(const std::filesystem::path& directory);
/// The same from text; `file` is for messages.
ModelConfig parse_model_config(std::string_view text, const std::string& file);

/// A tensor that the architecture needs.
struct ExpectedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
};

/// Every tensor of the model, in the order of use: `model.embed_tokens.weight`, then by layer `input_layernorm.weight`,
/// `self_attn.{q,k,v}_proj.weight` (and `.bias`), `self_attn.{q,k}_norm.weight`, `self_attn.o_proj.weight`,
/// `post_attention_layernorm.weight`, `mlp.{gate,up,down}_proj.weight` (all under `model.layers.N.`), then
/// `model.norm.weight` and, untied, `lm_head.weight`. Linear weights are [out, in].
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);

/// Whether the directory's tensors are those of its config: every expected one there, with its shape, F32, BF16 or F16.
/// A tied model's own `lm_head.weight` and `rotary_emb.inv_freq` buffers are passed over; another tensor beyond the
/// expected is refused, since its effect would be lost. Throws FormatError.
void check_weights(const ModelConfig& config, const Weights& weights);

/// The seven linear layers that an adapter may sit on, in the order of use.
inline constexpr std::string_view kLinearModules[] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                      "gate_proj", "up_proj", "down_proj"};

struct LinearShape {
  std::int64_t out = 0;
  std::int64_t in = 0;
};

/// Sizes of one of kLinearModules; std::nullopt for another name.
std::optional<LinearShape> linear_shape(const ModelConfig& config, std::string_view module);

/// `model.layers.LAYER.self_attn.q_proj` or `model.layers.LAYER.mlp.gate_proj`: without `.weight`.
std::string linear_path(std::int64_t layer, std::string_view module);

/// Number of elements of all expected tensors.
std::int64_t parameter_count(const ModelConfig& config);

}  // namespace finetuned::formats
