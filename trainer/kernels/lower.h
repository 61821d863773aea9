#pragma once

#include <cstdint>

#include "trainer/tensor/cuda.h"

namespace finetuned::kernels {

/// What is trained as kernels read it: `out` [count] = `values`, rounded to the nearest, ties to even. For devices whose Wide
/// is not their Real.
void lower(const tensor::Cuda& device, const float* values, std::int64_t count, tensor::Bf16* out);

}  // namespace finetuned::kernels
