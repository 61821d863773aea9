#pragma once

#include <cstdint>
#include <vector>

#include "trainer/formats/hf_config.h"
#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// The rotary angles of positions 0 .. positions - 1 (arXiv 2104.09864), worked out in double: `cosines` and
/// `sines` [positions, head_dim / 2], with the scaling of the config (formats::RopeScaling names the
/// formulas) and, for yarn, multiplied by its attention factor.
struct RopeTables {
  std::vector<double> cosines;
  std::vector<double> sines;
};
RopeTables rope_tables(const formats::ModelConfig& config, std::int64_t positions);

/// Hugging Face's layout: dimension i turns with dimension i + head_dim / 2. In place on x [tokens, heads,
/// head_dim]; `positions` [tokens] index the tables. `backward` turns the other way: the gradient.
struct Rope {
  std::int64_t tokens = 0;
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  bool backward = false;
};
void rope(const tensor::Cpu& device, const Rope& shape, const float* cosines, const float* sines,
          const std::int32_t* positions, float* x);
void rope(const tensor::Cuda& device, const Rope& shape, const float* cosines, const float* sines,
          const std::int32_t* positions, tensor::Bf16* x);
void rope(const tensor::Reference& device, const Rope& shape, const double* cosines, const double* sines,
          const std::int32_t* positions, double* x);

}  // namespace finetuned::kernels
