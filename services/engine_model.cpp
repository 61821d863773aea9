#include "services/engine_model.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/errors.h"
#include "base/machine.h"
#include "trainer/formats/peft.h"
#include "trainer/formats/safetensors.h"
#include "trainer/model/weight_source.h"

namespace finetuned::services {

namespace {

constexpr std::int64_t kPromptPiece = 512;  // tokens of a prompt that go through the model at once

std::string megabytes(std::uint64_t bytes) {
  char text[40];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

struct Needed {
  std::uint64_t model = 0, cache = 0;  ///< bytes; the cache of one sequence
};

Needed memory_of(const formats::ModelConfig& config, const model::ModelSettings& settings, int threads) {
  Needed needed;
  for (const tensor::MemoryLine& line : model::plan_memory(config, settings, threads)) needed.model += line.bytes;
  needed.cache = static_cast<std::uint64_t>(2 * config.layers * settings.max_positions * config.kv_heads *
                                            config.head_dim) * sizeof(float);
  return needed;
}

/// Lowers max_rows until the caches fit.
void fit_memory(const formats::ModelConfig& config, model::ModelSettings& settings, int threads) {
  const std::uint64_t limit = base::run_memory_bytes();
  while (true) {
    const Needed needed = memory_of(config, settings, threads);
    if (needed.model + needed.cache * static_cast<std::uint64_t>(settings.max_rows) <= limit) return;
    if (settings.max_rows == 1)
      throw base::UsageError("this needs " + megabytes(needed.model) + " of memory for the model and " +
                             megabytes(needed.cache) + " for a sequence of " + std::to_string(settings.max_positions) +
                             " tokens, but " + megabytes(limit) +
                             " may be used; lower --max-tokens or take a smaller base");
    settings.max_rows /= 2;
  }
}

}  // namespace

Reader load_reader(tensor::Cpu& device, const std::string& base, const std::string& adapter,
                   const formats::ModelConfig& config, std::int64_t positions, std::int64_t sequences) {
  const formats::Weights weights = formats::Weights::open(base);
  formats::check_weights(config, weights);
  model::ModelSettings settings;
  settings.max_positions = std::min(positions, config.max_position_embeddings);
  settings.max_rows = sequences;
  settings.max_tokens = std::max(sequences, std::min(kPromptPiece, settings.max_positions));
  std::optional<formats::Adapter> tuned;
  if (!adapter.empty()) {
    tuned = formats::read_adapter(adapter, config);
    settings.mode = model::Mode::kAdapter;
    settings.lora.rank = tuned->config.rank;
    settings.lora.alpha = tuned->config.alpha;
    settings.lora.use_rslora = tuned->config.use_rslora;
    settings.lora.target_modules = tuned->config.target_modules;
  }
  fit_memory(config, settings, device.pool().threads());
  Reader model(device, config, model::stored_weights(weights), settings);
  if (tuned) model.load_adapter(*tuned);
  return model;
}

}  // namespace finetuned::services
