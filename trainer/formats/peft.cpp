#include "trainer/formats/peft.h"

#include <algorithm>
#include <set>

#include <boost/json/serialize.hpp>

#include "base/errors.h"
#include "base/expects.h"
#include "base/files.h"
#include "trainer/formats/json_fields.h"

namespace finetuned::formats {

namespace {

using base::FormatError;
namespace json = base::json;

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";
constexpr int kMaxRank = 4096;

bool is_linear_module(std::string_view name) {
  return std::find(std::begin(kLinearModules), std::end(kLinearModules), name) != std::end(kLinearModules);
}

std::vector<std::string> read_target_modules(const JsonFields& fields) {
  const json::value* value = fields.find("target_modules");
  std::vector<std::string> modules;
  if (value && value->is_string() && value->get_string() == "all-linear") {
    modules.assign(std::begin(kLinearModules), std::end(kLinearModules));
  } else if (value && value->is_array()) {
    for (const json::value& item : value->get_array()) {
      const std::string name = item.is_string() ? std::string(item.get_string()) : std::string();
      if (!is_linear_module(name))
        fields.refuse("target_modules", "has '" + name.substr(0, 80) + "'; supported are q_proj, k_proj, v_proj, o_proj, "
                                        "gate_proj, up_proj and down_proj");
      modules.push_back(name);
    }
  }
  if (modules.empty()) fields.refuse("target_modules", "is not a list of linear layers, nor \"all-linear\"");
  return in_module_order(modules);
}

void refuse_if_set(const JsonFields& fields, std::string_view field, const std::string& why) {
  const json::value* value = fields.find(field);
  if (!value) return;
  const bool empty = (value->is_object() && value->get_object().empty()) ||
                     (value->is_array() && value->get_array().empty()) || (value->is_bool() && !value->get_bool());
  if (!empty) fields.refuse(field, why);
}

AdapterConfig read_adapter_config(const std::filesystem::path& file) {
  const std::string name = file.string();
  const json::object object = read_json_object(file);
  const JsonFields fields(object, name);
  if (fields.text_or("peft_type", "") != "LORA") fields.refuse("peft_type", "is not LORA; other kinds of adapter are not supported");
  if (fields.text_or("task_type", "CAUSAL_LM") != "CAUSAL_LM") fields.refuse("task_type", "is not CAUSAL_LM");
  if (fields.text_or("bias", "none") != "none") fields.refuse("bias", "is not none; trained biases are not supported");
  for (const char* field : {"rank_pattern", "alpha_pattern"})
    refuse_if_set(fields, field, "is set; every layer must have the same rank and alpha");
  for (const char* field : {"use_dora", "modules_to_save", "layers_to_transform", "layers_pattern", "layer_replication",
                            "fan_in_fan_out", "megatron_config", "trainable_token_indices", "use_qalora", "alora_invocation_tokens",
                            "target_parameters", "lora_bias"})
    refuse_if_set(fields, field, "is set, which is not supported; train a plain LoRA adapter");
  AdapterConfig config;
  config.rank = static_cast<int>(fields.integer("r", 1, kMaxRank));
  config.alpha = fields.number("lora_alpha", 1e-6, 1e6);
  config.dropout = fields.number_or("lora_dropout", 0, 0.999, 0);
  config.use_rslora = fields.boolean_or("use_rslora", false);
  config.target_modules = read_target_modules(fields);
  config.base_model_name_or_path = fields.text_or("base_model_name_or_path", "");
  return config;
}

json::object adapter_config_json(const AdapterConfig& config) {
  json::array modules;
  for (const std::string& module : config.target_modules) modules.push_back(json::string(module));
  json::object object;
  object["alpha_pattern"] = json::object();
  object["base_model_name_or_path"] = config.base_model_name_or_path;
  object["bias"] = "none";
  object["fan_in_fan_out"] = false;
  object["inference_mode"] = true;
  object["init_lora_weights"] = true;
  object["layers_pattern"] = nullptr;
  object["layers_to_transform"] = nullptr;
  if (config.alpha == std::floor(config.alpha))
    object["lora_alpha"] = static_cast<std::int64_t>(config.alpha);
  else
    object["lora_alpha"] = config.alpha;
  object["lora_dropout"] = config.dropout;
  object["modules_to_save"] = nullptr;
  object["peft_type"] = "LORA";
  object["peft_version"] = "0.13.2";
  object["r"] = config.rank;
  object["rank_pattern"] = json::object();
  object["revision"] = nullptr;
  object["target_modules"] = std::move(modules);
  object["task_type"] = "CAUSAL_LM";
  object["use_dora"] = false;
  object["use_rslora"] = config.use_rslora;
  return object;
}

std::vector<float> read_factor(const SafetensorsFile& file, const std::string& name, std::int64_t rows,
                               std::int64_t columns) {
  const TensorView* tensor = file.find(name);
  if (!tensor)
    throw FormatError(file.path().string(), "tensor '" + name + "'",
                      "is missing; the adapter is not for this base model and adapter_config.json");
  if (tensor->shape != std::vector<std::int64_t>{rows, columns})
    throw FormatError(file.path().string(), "tensor '" + name + "' shape",
                      "is not [" + std::to_string(rows) + ", " + std::to_string(columns) +
                          "], which this base model and adapter_config.json need");
  return tensor->to_f32();
}

}  // namespace

Adapter read_adapter(const std::filesystem::path& directory, const ModelConfig& base) {
  Adapter adapter;
  adapter.config = read_adapter_config(directory / kConfigFile);
  if (!std::filesystem::is_regular_file(directory / kWeightsFile))
    throw FormatError((directory / kWeightsFile).string(), "", "is missing; give a PEFT adapter's directory");
  const SafetensorsFile file = SafetensorsFile::open(directory / kWeightsFile);
  for (std::int64_t layer = 0; layer < base.layers; ++layer) {
    for (const std::string& module : adapter.config.target_modules) {
      const LinearShape shape = *linear_shape(base, module);
      const std::string prefix = peft_prefix(layer, module);
      std::vector<float> a = read_factor(file, prefix + ".lora_A.weight", adapter.config.rank, shape.in);
      std::vector<float> b = read_factor(file, prefix + ".lora_B.weight", shape.out, adapter.config.rank);
      adapter.pairs.push_back({layer, module, shape.in, shape.out, std::move(a), std::move(b)});
    }
  }
  if (file.tensors().size() == 2 * adapter.pairs.size()) return adapter;
  std::set<std::string> known;
  for (const LoraPair& pair : adapter.pairs)
    for (const char* factor : {".lora_A.weight", ".lora_B.weight"}) known.insert(peft_prefix(pair.layer, pair.module) + factor);
  for (const TensorView& tensor : file.tensors())
    if (!known.count(tensor.name))
      throw FormatError(file.path().string(), "tensor '" + tensor.name + "'",
                        "has no place in this base model with adapter_config.json's target_modules");
  base::broken_invariant("more tensors than names, though names are unique", std::source_location::current());
}

void write_adapter(const std::filesystem::path& directory, const Adapter& adapter, Dtype dtype) {
  std::filesystem::create_directories(directory);
  std::vector<TensorToWrite> tensors;
  const std::int64_t rank = adapter.config.rank;
  for (const LoraPair& pair : adapter.pairs) {
    const std::string prefix = peft_prefix(pair.layer, pair.module);
    tensors.push_back({prefix + ".lora_A.weight", {rank, pair.in}, pair.a});
    tensors.push_back({prefix + ".lora_B.weight", {pair.out, rank}, pair.b});
  }
  write_safetensors(directory / kWeightsFile, std::move(tensors), dtype);
  base::write_durably(directory / kConfigFile, json::serialize(adapter_config_json(adapter.config)) + "\n");
}

}  // namespace finetuned::formats
