#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "trainer/formats/hf_config.h"
#include "trainer/generate/generate.h"
#include "trainer/tensor/any_device.h"

namespace finetuned::generate {

/// A model that answers, on a device chosen at run time.
class AnyModel {
 public:
  struct Files {
    std::filesystem::path base;     ///< a Hugging Face directory
    std::filesystem::path adapter;  ///< a PEFT directory to put on it; empty: none
  };

  /// `config` is the base's. Its tables reach to `positions` tokens, the base's context at most: what a sequence with its
  /// answer may hold; it takes up to `sequences` (>= 1) of them together, fewer where memory is short. `device` outlives it.
  /// Throws FormatError (weights, adapter) and, before anything is allocated, UsageError with the figures where the model and
  /// the cache of one such sequence do not fit the device.
  AnyModel(tensor::AnyDevice& device, const Files& files, const formats::ModelConfig& config, std::int64_t positions,
           std::int64_t sequences);

  /// As the functions of these names in generate.h.
  Answer generate(std::span<const std::int32_t> prompt, const Request& request,
                  const std::function<void(std::int32_t)>& on_token = {});
  std::vector<Answer> generate_together(std::span<const Prompt> prompts, const Listener& listener = {});

 private:
  std::uint64_t cache_bytes_ = 0;  ///< that are left for all sequences' caches
  tensor::OnAnyDevice<model::Transformer> model_;
};

}  // namespace finetuned::generate
