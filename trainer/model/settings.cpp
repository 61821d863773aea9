#include "trainer/model/settings.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "trainer/kernels/attention.h"
#include "trainer/kernels/cross_entropy.h"
#include "trainer/model/network.h"

namespace finetuned::model {

double LoraSettings::scale() const {
  return use_rslora ? alpha / std::sqrt(static_cast<double>(rank)) : alpha / rank;
}

template <class Device>
void check_settings(const formats::ModelConfig& config, const ModelSettings& settings) {
  constexpr std::int64_t kMostHeadDim = Device::kHostMemory ? kernels::kMostHeadDim : kernels::kMostHeadDimOfGpu;
  const auto require = [](bool held, const std::string& message) {
    if (!held) throw base::UsageError(message);
  };
  require(
      settings.max_tokens >= 1 && settings.max_tokens <= (1 << 24),
      "the token budget is " + std::to_string(settings.max_tokens) + "; it must lie between 1 and 16777216");
  require(settings.max_rows >= 1 && settings.max_rows <= settings.max_tokens,
          "a batch of " + std::to_string(settings.max_rows) + " rows does not fit a budget of " +
              std::to_string(settings.max_tokens) + " tokens");
  require(settings.max_positions >= 0, "max_positions is negative");
  require(config.head_dim <= kMostHeadDim,
          "head_dim is " + std::to_string(config.head_dim) + "; heads wider than " +
              std::to_string(kMostHeadDim) + " are not supported" + (Device::kHostMemory ? "" : " on a GPU"));
  require(!settings.trains() || config.hidden_size <= kernels::kMostHeadHidden,
          "hidden_size is " + std::to_string(config.hidden_size) + "; models wider than " +
              std::to_string(kernels::kMostHeadHidden) + " cannot be trained on this device");
  if (!settings.has_adapter()) return;
  const LoraSettings& lora = settings.lora;
  require(lora.rank >= 1 && lora.rank <= 256,
          "LoRA rank is " + std::to_string(lora.rank) + "; it must lie between 1 and 256");
  require(std::isfinite(lora.alpha) && lora.alpha > 0, "LoRA alpha must be greater than 0");
  require(lora.dropout >= 0 && lora.dropout < 1, "LoRA dropout must lie in [0, 1)");
  require(!lora.target_modules.empty(), "LoRA has no target modules; name at least one, e.g. q_proj");
  for (const auto& module : lora.target_modules)
    require(formats::linear_shape(config, module).has_value(),
            "`" + module +
                "` is not a linear layer of this model; known are q_proj, k_proj, v_proj, o_proj, gate_proj, "
                "up_proj and down_proj");
}

template <class Device>
std::vector<tensor::MemoryLine> plan_memory(const formats::ModelConfig& config, const ModelSettings& settings,
                                            int threads) {
  const Network<Device> network(nullptr, config, settings);
  auto lines = network.memory_lines();
  lines.push_back({"kernel scratch", Device::scratch_bytes(threads)});
  return lines;
}

template <class Device>
std::int64_t fit_tokens(const formats::ModelConfig& config, ModelSettings settings, std::uint64_t bytes,
                        std::int64_t least, std::int64_t most, int threads) {
  const std::int64_t rows = settings.max_rows;
  const auto fits = [&](std::int64_t tokens) {
    settings.max_tokens = tokens;
    settings.max_rows = std::min(rows, tokens);
    std::uint64_t total = 0;
    for (const auto& line : plan_memory<Device>(config, settings, threads))
      total += line.bytes;
    return total <= bytes;
  };
  if (least > most || !fits(least)) return 0;
  while (least < most) {
    const std::int64_t middle = least + (most - least + 1) / 2;
    if (fits(middle)) {
      least = middle;
    } else {
      most = middle - 1;
    }
  }
  return least;
}

template void check_settings<tensor::Reference>(const formats::ModelConfig&, const ModelSettings&);

#define FINETUNED_INSTANTIATE(Device)                                                                         \
  template void check_settings<Device>(const formats::ModelConfig&, const ModelSettings&);                    \
  template std::vector<tensor::MemoryLine> plan_memory<Device>(const formats::ModelConfig&,                   \
                                                               const ModelSettings&, int);                    \
  template std::int64_t fit_tokens<Device>(const formats::ModelConfig&, ModelSettings, std::uint64_t,         \
                                           std::int64_t, std::int64_t, int);
FINETUNED_INSTANTIATE(tensor::Cpu)
FINETUNED_INSTANTIATE(tensor::Cuda)

}  // namespace finetuned::model
