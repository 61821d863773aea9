#include <algorithm>
#include <cmath>

#include "trainer/formats/peft.h"

namespace finetuned::formats {

std::vector<std::string> in_module_order(std::span<const std::string> modules) {
  std::vector<std::string> ordered;
  for (const std::string_view name : kLinearModules)
    if (std::find(modules.begin(), modules.end(), name) != modules.end()) ordered.emplace_back(name);
  return ordered;
}

double AdapterConfig::scale() const { return use_rslora ? alpha / std::sqrt(static_cast<double>(rank)) : alpha / rank; }

std::string peft_prefix(std::int64_t layer, std::string_view module) {
  return "base_model.model." + linear_path(layer, module);
}

Adapter make_adapter(const AdapterConfig& config, const ModelConfig& base) {
  Adapter adapter;
  adapter.config = config;
  adapter.config.target_modules = in_module_order(config.target_modules);
  for (std::int64_t layer = 0; layer < base.layers; ++layer) {
    for (const std::string& module : adapter.config.target_modules) {
      const LinearShape shape = *linear_shape(base, module);
      const auto rank = static_cast<std::size_t>(config.rank);
      adapter.pairs.push_back({layer, module, shape.in, shape.out,
                               std::vector<float>(rank * static_cast<std::size_t>(shape.in)),
                               std::vector<float>(rank * static_cast<std::size_t>(shape.out))});
    }
  }
  return adapter;
}

}  // namespace finetuned::formats
