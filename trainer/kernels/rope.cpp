#include "trainer/kernels/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace finetuned::kernels {

namespace {

using formats::RopeScaling;

/// Meta's blend: wavelengths beyond the old context are divided by the factor, short ones kept, those between
/// mixed.
double llama3_frequency(double frequency, const RopeScaling& scaling) {
  const auto context = static_cast<double>(scaling.original_max_position_embeddings);
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < context / scaling.high_freq_factor) return frequency;
  if (wavelength > context / scaling.low_freq_factor) return frequency / scaling.factor;
  const double smooth =
      (context / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

/// YaRN (arXiv 2309.00071, section 3.2): the dimension that makes `rotations` turns within the old context.
double yarn_dimension(double rotations, const formats::ModelConfig& config) {
  const auto context = static_cast<double>(config.rope_scaling.original_max_position_embeddings);
  return static_cast<double>(config.head_dim) * std::log(context / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(config.rope_theta));
}

/// Between the two dimensions of beta_fast and beta_slow a ramp leads from kept to divided frequencies.
double yarn_frequency(double frequency, std::int64_t i, const formats::ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  double low = yarn_dimension(scaling.beta_fast, config), high = yarn_dimension(scaling.beta_slow, config);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.head_dim - 1));
  if (low == high) high += 0.001;
  const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
  return frequency / scaling.factor * ramp + frequency * (1 - ramp);
}

}  // namespace

RopeTables rope_tables(const formats::ModelConfig& config, std::int64_t positions) {
  const std::int64_t half = config.head_dim / 2;
  const RopeScaling& scaling = config.rope_scaling;
  RopeTables tables;
  tables.cosines.resize(static_cast<std::size_t>(positions * half));
  tables.sines.resize(tables.cosines.size());
  double amplitude = 1;
  if (scaling.kind == RopeScaling::Kind::kYarn) {
    const double by_factor = scaling.factor <= 1 ? 1.0 : 0.1 * std::log(scaling.factor) + 1;
    amplitude = scaling.attention_factor.value_or(by_factor);
  }
  for (std::int64_t i = 0; i < half; ++i) {
    double frequency =
        std::pow(config.rope_theta, -2 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    switch (scaling.kind) {
      case RopeScaling::Kind::kNone:
        break;
      case RopeScaling::Kind::kLinear:
        frequency /= scaling.factor;
        break;
      case RopeScaling::Kind::kLlama3:
        frequency = llama3_frequency(frequency, scaling);
        break;
      case RopeScaling::Kind::kYarn:
        frequency = yarn_frequency(frequency, i, config);
        break;
    }
    for (std::int64_t position = 0; position < positions; ++position) {
      const auto at = static_cast<std::size_t>(position * half + i);
      tables.cosines[at] = amplitude * std::cos(static_cast<double>(position) * frequency);
      tables.sines[at] = amplitude * std::sin(static_cast<double>(position) * frequency);
    }
  }
  return tables;
}

}  // namespace finetuned::kernels
