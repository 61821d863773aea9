#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "trainer/formats/hf_config.h"
#include "trainer/formats/peft.h"
#include "trainer/generate/batch.h"
#include "trainer/generate/generate.h"
#include "trainer/model/any_base.h"
#include "trainer/tensor/any_device.h"

namespace finetuned::generate {

/// A model that answers, on a device chosen at run time.
class AnyModel {
 public:
  struct Files {
    std::filesystem::path base;     ///< a Hugging Face directory
    std::filesystem::path adapter;  ///< a PEFT directory to put on it; empty: none
  };

  struct Limits {
    std::int64_t positions = 0;  ///< that a sequence with its answer may reach; at most the base's context
    std::int64_t sequences = 1;  ///< that are continued together
    std::uint64_t memory_bytes = 0;     ///< for the base, the model and the caches; 0: what the device has free
    std::int64_t least_positions = 0;   ///< where memory is short, positions may be lowered to this; 0: never
  };

  /// `config` is the base's. Its tables reach to `positions` tokens, the base's context at most: what a sequence with its
  /// answer may hold; it takes up to `sequences` (>= 1) of them together, fewer where memory is short. `device` outlives it.
  /// Throws FormatError (weights, adapter) and, before anything is allocated, UsageError with the figures where the model and
  /// the cache of one such sequence do not fit the device.
  AnyModel(tensor::AnyDevice& device, const Files& files, const formats::ModelConfig& config, std::int64_t positions,
           std::int64_t sequences);
  /// On a base that was read before and lies on a device of `device`'s kind; both outlive it. `adapter`: null for none.
  /// Throws UsageError as above, with `limits.memory_bytes` for the device's.
  AnyModel(tensor::AnyDevice& device, const model::AnyBase& base, const Limits& limits, const formats::Adapter* adapter);
  AnyModel(const AnyModel&) = delete;
  AnyModel& operator=(const AnyModel&) = delete;

  /// Puts another adapter, or none, on the base in the place of the present one, without reading the base again: into its
  /// memory where it has the same shape, else in memory of its own. Not while an AnyBatch stands on the model. Throws as the
  /// constructor, and then the model is good for destruction and for another exchange only.
  void exchange_adapter(const formats::Adapter* adapter);

  std::int64_t positions() const { return settings_.max_positions; }
  std::int64_t sequences() const { return settings_.max_rows; }

  /// As the functions of these names in generate.h.
  Answer generate(std::span<const std::int32_t> prompt, const Request& request,
                  const std::function<void(std::int32_t)>& on_token = {});
  std::vector<Answer> generate_together(std::span<const Prompt> prompts, const Listener& listener = {});

 private:
  friend class AnyBatch;
  void fit(const formats::ModelConfig& config, const formats::AdapterConfig* adapter, std::uint64_t base_bytes);
  void build(const formats::Adapter* adapter);

  tensor::AnyDevice& device_;
  std::unique_ptr<const model::AnyBase> own_base_;  ///< where the model was not given one
  const model::AnyBase* base_ = nullptr;
  Limits limits_;
  model::ModelSettings settings_;
  std::uint64_t cache_bytes_ = 0;  ///< that are left for all sequences' caches
  tensor::OnAnyDevice<model::Transformer> model_;
};

/// A Batch of model.sequences() sequences on an AnyModel, which outlives it.
class AnyBatch {
 public:
  explicit AnyBatch(AnyModel& model);
  std::uint64_t add(std::span<const std::int32_t> ids, const Request& request);
  bool cancel(std::uint64_t ticket);
  bool step(const BatchListener& listener);
  std::size_t sequences() const;
  std::size_t running() const;
  std::size_t waiting() const;

 private:
  tensor::OnAnyDevice<Batch> batch_;
};

}  // namespace finetuned::generate
