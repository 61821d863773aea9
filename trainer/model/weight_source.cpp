#include "trainer/model/weight_source.h"

#include <cmath>
#include <numbers>

#include "trainer/kernels/counter_rng.h"

namespace finetuned::model {

namespace {

std::uint64_t name_key(const std::string& name) {
  std::uint64_t key = 0;
  for (const char c : name)
    key = kernels::mix(key ^ static_cast<unsigned char>(c));
  return key;
}

bool ends_with(const std::string& name, const char* end) {
  return name.ends_with(end);
}

}  // namespace

WeightSource fresh_weights(const formats::ModelConfig& config, std::uint64_t seed, double deviation) {
  const double residual = deviation / std::sqrt(2.0 * static_cast<double>(config.layers));
  return [seed, deviation, residual](const std::string& name, std::span<float> out) {
    if (ends_with(name, ".bias") || ends_with(name, "norm.weight")) {
      std::fill(out.begin(), out.end(), ends_with(name, ".bias") ? 0.0f : 1.0f);
      return;
    }
    const double spread =
        ends_with(name, "o_proj.weight") || ends_with(name, "down_proj.weight") ? residual : deviation;
    const std::uint64_t key = kernels::random_key(seed, name_key(name));
    for (std::size_t i = 0; i < out.size(); ++i) {  // Box and Muller
      const double radius = std::sqrt(-2 * std::log(1 - kernels::random_uniform(key, 2 * i)));
      out[i] = static_cast<float>(spread * radius *
                                  std::cos(2 * std::numbers::pi * kernels::random_uniform(key, 2 * i + 1)));
    }
  };
}

}  // namespace finetuned::model
