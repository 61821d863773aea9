#include "trainer/generate/any_model.h"

#include <algorithm>
#include <optional>

#include "base/errors.h"
#include "trainer/formats/peft.h"
#include "trainer/formats/safetensors.h"
#include "trainer/model/weight_source.h"

namespace finetuned::generate {

namespace {

constexpr std::int64_t kPromptPiece = 512;  // tokens of a prompt that go through the model at once

struct Needed {
  std::uint64_t model = 0, cache = 0;  ///< bytes; the cache of one sequence
};

template <class Device>
Needed memory_of(const formats::ModelConfig& config, const model::ModelSettings& settings, int threads) {
  Needed needed;
  for (const tensor::MemoryLine& line : model::plan_memory<Device>(config, settings, threads)) needed.model += line.bytes;
  needed.cache = model::KvCache<Device>::planned_bytes(config, 1, settings.max_positions);
  return needed;
}

/// Lowers max_rows until their caches fit, on a GPU until one does: there sequences share pages. The bytes that are left for caches.
template <class Device>
std::uint64_t fit_memory(const Device& device, const formats::ModelConfig& config, model::ModelSettings& settings) {
  const std::uint64_t limit = device.free_bytes();
  while (true) {
    const Needed needed = memory_of<Device>(config, settings, device.threads());
    const auto caches = static_cast<std::uint64_t>(Device::kHostMemory ? settings.max_rows : 1);
    if (needed.model + needed.cache * caches <= limit) return limit - needed.model;
    if (settings.max_rows == 1)
      throw base::UsageError("this needs " + tensor::megabytes(needed.model) + " of memory for the model and " +
                             tensor::megabytes(needed.cache) + " for a sequence of " + std::to_string(settings.max_positions) +
                             " tokens, but " + tensor::megabytes(limit) +
                             " may be used; lower --max-tokens or take a smaller base");
    settings.max_rows /= 2;
  }
}

void add_adapter(const formats::AdapterConfig& adapter, model::ModelSettings& settings) {
  settings.mode = model::Mode::kAdapter;
  settings.lora.rank = adapter.rank;
  settings.lora.alpha = adapter.alpha;
  settings.lora.use_rslora = adapter.use_rslora;
  settings.lora.target_modules = adapter.target_modules;
}

/// work(Transformer<Device>&).
template <class Work>
decltype(auto) on(tensor::OnAnyDevice<model::Transformer>& any, Work&& work) {
  using OnGpu = std::unique_ptr<model::Transformer<tensor::Cuda>>;
  if (auto* const gpu = std::get_if<OnGpu>(&any)) return work(**gpu);
  return work(*std::get<std::unique_ptr<model::Transformer<tensor::Cpu>>>(any));
}

}  // namespace

AnyModel::AnyModel(tensor::AnyDevice& device, const Files& files, const formats::ModelConfig& config, std::int64_t positions,
                   std::int64_t sequences) {
  const formats::Weights weights = formats::Weights::open(files.base);
  formats::check_weights(config, weights);
  model::ModelSettings settings;
  settings.max_positions = std::min(positions, config.max_position_embeddings);
  settings.max_rows = sequences;
  settings.max_tokens = std::max(sequences, std::min(kPromptPiece, settings.max_positions));
  std::optional<formats::Adapter> tuned;
  if (!files.adapter.empty()) {
    tuned = formats::read_adapter(files.adapter, config);
    add_adapter(tuned->config, settings);
  }
  device.visit([&]<class Device>(Device& on) {
    cache_bytes_ = fit_memory(on, config, settings);
    auto model = std::make_unique<model::Transformer<Device>>(on, config, model::stored_weights(weights), settings);
    if (tuned) model->load_adapter(*tuned);
    model_ = std::move(model);
  });
}

Answer AnyModel::generate(std::span<const std::int32_t> prompt, const Request& request,
                          const std::function<void(std::int32_t)>& on_token) {
  return on(model_, [&](auto& model) { return generate::generate(model, prompt, request, on_token); });
}

std::vector<Answer> AnyModel::generate_together(std::span<const Prompt> prompts, const Listener& listener) {
  return on(model_, [&](auto& model) { return generate::generate_together(model, prompts, listener, cache_bytes_); });
}

}  // namespace finetuned::generate
