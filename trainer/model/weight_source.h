#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>

#include "trainer/formats/hf_config.h"
#include "trainer/formats/safetensors.h"

namespace finetuned::model {

/// Gives the tensors of formats::expected_tensors(config), by their Hugging Face names.
class WeightSource {
 public:
  using Values = std::function<void(const std::string& name, std::span<float> out)>;
  using Stored = std::function<std::span<const std::byte>(const std::string& name, std::size_t elements)>;

  /// `stored`, where given, as bfloat16().
  template <std::invocable<const std::string&, std::span<float>> Give>
  WeightSource(Give give, Stored stored = {}) : values_(std::move(give)), stored_(std::move(stored)) {}

  /// Writes the values, converted to float; out.size() is their number.
  void operator()(const std::string& name, std::span<float> out) const { values_(name, out); }
  /// The tensor's `elements` as they lie in its file, where they are bfloat16s; else nothing.
  std::span<const std::byte> bfloat16(const std::string& name, std::size_t elements) const {
    return stored_ ? stored_(name, elements) : std::span<const std::byte>();
  }

 private:
  Values values_;
  Stored stored_;
};

/// From files. `weights` must outlive the source, and has passed formats::check_weights. Throws FormatError
/// where a tensor is missing or has another size.
WeightSource stored_weights(const formats::Weights& weights);

/// First values of a model trained from nothing: norms 1, biases 0, all else normal of mean 0 and deviation
/// `deviation` (that of o_proj and down_proj divided by sqrt(2 layers), as in GPT-2), from a counter keyed by
/// (seed, name). The same bits on every machine of one build.
WeightSource fresh_weights(const formats::ModelConfig& config, std::uint64_t seed, double deviation = 0.02);

}  // namespace finetuned::model
