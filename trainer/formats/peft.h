#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/formats/hf_config.h"
#include "trainer/formats/safetensors.h"

namespace finetuned::formats {

/// What adapter_config.json says of a LoRA adapter.
struct AdapterConfig {
  int rank = 8;
  double alpha = 16;
  double dropout = 0;
  bool use_rslora = false;
  std::vector<std::string> target_modules;  ///< of kLinearModules, in that order
  std::string base_model_name_or_path;

  /// alpha / rank, or alpha / sqrt(rank) for rank-stabilised LoRA.
  double scale() const;
};

/// The two factors on one linear layer: y = W x + scale B (A x).
struct LoraPair {
  std::int64_t layer = 0;
  std::string module;     ///< one of kLinearModules
  std::int64_t in = 0;
  std::int64_t out = 0;
  std::vector<float> a;   ///< [rank, in]
  std::vector<float> b;   ///< [out, rank]
};

struct Adapter {
  AdapterConfig config;
  std::vector<LoraPair> pairs;  ///< by layer, then in kLinearModules' order; one for each target module of each layer
};

/// Reads `directory`/adapter_config.json and adapter_model.safetensors and checks them against the base: supported
/// options only (no DoRA, no rank or alpha patterns, no trained biases, no modules_to_save), each factor there with the
/// base's sizes, nothing beyond them. Throws FormatError.
Adapter read_adapter(const std::filesystem::path& directory, const ModelConfig& base);

/// Writes both files into `directory` (made where absent), as PEFT reads them. `dtype`: F32, BF16 or F16.
/// The same adapter gives the same bytes.
void write_adapter(const std::filesystem::path& directory, const Adapter& adapter, Dtype dtype = Dtype::kF32);

/// An adapter with its factors' sizes set and all values zero, for `config.target_modules` on every layer of `base`.
Adapter make_adapter(const AdapterConfig& config, const ModelConfig& base);

/// Those of kLinearModules that `modules` has, in its order, each once.
std::vector<std::string> in_module_order(std::span<const std::string> modules);

/// `base_model.model.model.layers.N.self_attn.q_proj`: what `.lora_A.weight` and `.lora_B.weight` follow.
std::string peft_prefix(std::int64_t layer, std::string_view module);

}  // namespace finetuned::formats
