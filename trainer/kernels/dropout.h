#pragma once

#include <cstdint>

#include "trainer/kernels/counter_rng.h"
#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// Dropout of rows by counters: element i of a token is kept where half i % 2 of random_bits(token key, i /
/// 2) is at most 1 - probability of the way, the token key being random_key(key, the row's key, the token's
/// position). Kept ones are divided by 1 - probability. So the mask depends on row and position, never on the
/// token's place in the batch.
struct Dropout {
  double probability = 0;
  std::uint64_t key = 0;  ///< of seed, step, layer and module
  std::int64_t tokens = 0;
  std::int64_t size = 0;                      ///< of a token's row
  const std::int32_t* positions = nullptr;    ///< [tokens]
  const std::uint64_t* token_keys = nullptr;  ///< [tokens] the token's row's key
};

/// out = mask(x), or out += mask(x) where `add`.
void dropout(const tensor::Cpu& device, const Dropout& shape, const float* x, bool add, float* out);
void dropout(const tensor::Cuda& device, const Dropout& shape, const tensor::Bf16* x, bool add,
             tensor::Bf16* out);
void dropout(const tensor::Reference& device, const Dropout& shape, const double* x, bool add, double* out);

}  // namespace finetuned::kernels
