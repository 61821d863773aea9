#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/formats/hf_config.h"
#include "trainer/formats/peft.h"
#include "trainer/kernels/adamw.h"
#include "trainer/kernels/cross_entropy.h"
#include "trainer/model/base_weights.h"
#include "trainer/model/kv_cache.h"
#include "trainer/model/packed_batch.h"
#include "trainer/model/settings.h"
#include "trainer/model/weight_source.h"
#include "trainer/tensor/device.h"

namespace finetuned::model {

/// A tensor that training changes. The spans are the device's memory (on Cpu and Reference readable as they
/// are) and stay where they are for the model's lifetime.
template <class Wide>
struct Trainable {
  std::string name;  ///< PEFT: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`; kFull: as in
                     ///< the base
  std::vector<std::int64_t> shape;
  std::span<Wide> value;
  std::span<Wide> gradient;
  bool decays = true;  ///< whether weight decay applies: to matrices, not to norms and biases
};

template <class Device>
struct Network;

/// A decoder-only transformer of the Llama family, written once for every device. Explicitly instantiated for
/// tensor::Cpu (float), tensor::Cuda (bfloat16 and float) and tensor::Reference (double).
///
/// Not for two threads at once. All memory is taken at construction; a step allocates nothing. Results depend
/// on the build, the device class and the inputs only, never on the number of threads.
template <class Device>
class Transformer {
 public:
  using Real = typename Device::Real;
  using Wide = typename Device::Wide;

  /// Loads every tensor from `weights`, as a base of its own. A fresh adapter has A uniform in +-1/sqrt(in)
  /// (Kaiming with a = sqrt 5, as PEFT) from a counter keyed by (seed, layer, module), and B zero. `device`
  /// must outlive the model. Throws FormatError (weights) and UsageError (settings that do not fit the
  /// config).
  Transformer(Device& device, const formats::ModelConfig& config, const WeightSource& weights,
              const ModelSettings& settings);
  /// On a base that stays what it is, so not for kFull (expects()); it must outlive the model.
  Transformer(Device& device, const BaseWeights<Device>& base, const ModelSettings& settings);
  ~Transformer();
  Transformer(Transformer&&) noexcept;

  const Device& device() const;
  const formats::ModelConfig& config() const;
  const ModelSettings& settings() const;
  std::int64_t max_positions() const;  ///< tokens that a sequence may reach
  std::vector<tensor::MemoryLine> memory_lines() const;

  /// Forward and backward of one micro-batch (modes kLora and kFull). Adds to the gradients those of
  /// loss_scale * sum over supervised positions of -log p(target): loss_scale = 1 / (supervised positions of
  /// the whole optimizer batch) makes micro-batches add up to the gradient of the mean. `step` keys dropout.
  /// Batches obey settings(): tokens <= max_tokens, rows <= max_rows, ids in the vocabulary (expects()).
  kernels::LossSums accumulate_gradients(const PackedBatch& batch, double loss_scale, std::int64_t step);

  /// The loss alone, without dropout; gradients are left alone. Any mode.
  kernels::LossSums evaluate(const PackedBatch& batch);

  /// In the order of use. Empty in modes kInference and kAdapter. All values, and all gradients, lie in one
  /// piece of memory each.
  std::span<const Trainable<Wide>> trainables() const;
  std::int64_t trainable_parameters() const;
  std::int64_t graph_starts() const;  ///< batches that went as a recorded graph (ModelSettings::graphs)

  void zero_gradients();
  /// L2 norm over all gradients, summed in double in a fixed order.
  double gradient_norm() const;
  /// One AdamW update of every trainable, its gradient first multiplied by `gradient_scale` (clipping).
  /// `step` is 1-based. Weight decay only where Trainable::decays.
  void adamw_step(const kernels::AdamW& settings, std::int64_t step, double gradient_scale);
  /// To be called when the trained values were written from outside, as from a checkpoint.
  void values_changed();
  /// All that is trained, and AdamW's moments in the same layout; for checkpoints. Empty where nothing is trained.
  std::span<Wide> trained_values();
  std::span<Wide> first_moments();
  std::span<Wide> second_moments();

  /// Replaces the adapter's values (kAdapter, kLora). Its rank and modules must be those of settings().
  /// Throws UsageError.
  void load_adapter(const formats::Adapter& adapter);
  /// The adapter as it stands, ready for formats::write_adapter; `base_model_name_or_path` is left to the
  /// caller.
  formats::Adapter adapter() const;
  /// The present value of a base tensor by its Hugging Face name (expects() that there is one): for writing a
  /// full-parameter result.
  std::vector<float> tensor(const std::string& name) const;

  /// Runs new tokens of some sequences (each at most once), which stand behind what the cache holds of them,
  /// through the model with the training forward's own kernels, appends their keys and values to the cache
  /// and writes each one's last token's logits to `logits` [continuations, vocab_size], host memory. A
  /// sequence's bits do not depend on the others. All tokens <= max_tokens, continuations <=
  /// most_continuations(), a sequence's tokens <= cache.capacity.
  void extend(std::span<const Continuation> continuations, KvCache<Device>& cache, std::span<Wide> logits);
  std::int64_t most_continuations() const;  ///< max_rows; 1 for a model that trains

 private:
  std::unique_ptr<Network<Device>> network_;
};

extern template class Transformer<tensor::Cpu>;
extern template class Transformer<tensor::Cuda>;
extern template class Transformer<tensor::Reference>;

}  // namespace finetuned::model
