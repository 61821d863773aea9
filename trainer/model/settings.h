#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/formats/hf_config.h"
#include "trainer/tensor/memory_plan.h"

namespace finetuned::model {

/// The low-rank update on some of the seven linear layers: y = W x + scale B (A drop(x)).
struct LoraSettings {
  int rank = 8;  ///< 1..256
  double alpha = 16;
  double dropout = 0;  ///< [0, 1)
  bool use_rslora = false;
  std::uint64_t seed = 0;                   ///< of A's first values and of dropout
  std::vector<std::string> target_modules;  ///< of formats::kLinearModules, not empty

  double scale() const;  ///< alpha / rank, or alpha / sqrt(rank)
};

enum class Mode {
  kInference,  ///< the base as it is; no gradients, nothing to train
  kAdapter,    ///< the base with an adapter that is read only: as kInference, with LoRA
  kLora,       ///< trains the adapter
  kFull        ///< trains every weight
};

struct ModelSettings {
  Mode mode = Mode::kInference;
  LoraSettings lora;            ///< read for kAdapter and kLora
  std::int64_t max_tokens = 0;  ///< the most a batch may hold (>= 1): activations are sized by it
  std::int64_t max_rows = 0;    ///< the most rows a batch may hold (>= 1)
  /// Where something is trained: keep only what goes into each layer, and work the rest out again on the way
  /// back. A third more time, the same bits, the activations of one layer instead of all.
  bool recompute = false;
  /// On a GPU: record batches of one shape that come again as a graph. The same bits, fewer calls.
  bool graphs = true;
  /// Positions a row may reach; 0: max_tokens where something is trained, else the base's
  /// max_position_embeddings.
  std::int64_t max_positions = 0;

  bool has_adapter() const { return mode == Mode::kAdapter || mode == Mode::kLora; }
  bool trains() const { return mode == Mode::kLora || mode == Mode::kFull; }
};

/// What a Transformer<Device> with these settings will hold, by name, before anything is allocated; the same
/// lines as its memory_lines(). `threads`: of the Cpu, 0 = all. Throws UsageError where settings do not fit
/// the config.
template <class Device>
std::vector<tensor::MemoryLine> plan_memory(const formats::ModelConfig& config, const ModelSettings& settings,
                                            int threads = 0);

/// The greatest max_tokens in [least, most] whose plan stays within `bytes`; 0 where not even `least` does.
/// `threads` as for plan_memory().
template <class Device>
std::int64_t fit_tokens(const formats::ModelConfig& config, ModelSettings settings, std::uint64_t bytes,
                        std::int64_t least, std::int64_t most, int threads = 0);

}  // namespace finetuned::model
