#pragma once

#include <cstdint>

#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// out[i] = table[ids[i]]: rows of `size`. Also gathers any rows by index.
void gather_rows(const tensor::Cpu& device, const float* table, const std::int32_t* ids, std::int64_t rows,
                 std::int64_t size, float* out);
void gather_rows(const tensor::Cuda& device, const tensor::Bf16* table, const std::int32_t* ids,
                 std::int64_t rows, std::int64_t size, tensor::Bf16* out);
void gather_rows(const tensor::Reference& device, const double* table, const std::int32_t* ids,
                 std::int64_t rows, std::int64_t size, double* out);

/// table[ids[i]] = from[i], for ids that differ: new keys and values into their cache.
void scatter_rows(const tensor::Cpu& device, const float* from, const std::int32_t* ids, std::int64_t rows,
                  std::int64_t size, float* table);
void scatter_rows(const tensor::Cuda& device, const tensor::Bf16* from, const std::int32_t* ids,
                  std::int64_t rows, std::int64_t size, tensor::Bf16* table);
void scatter_rows(const tensor::Reference& device, const double* from, const std::int32_t* ids,
                  std::int64_t rows, std::int64_t size, double* table);

/// table[ids[i]] += from[i], in the order of i: the embedding's gradient, and the way back of gather_rows.
void scatter_add_rows(const tensor::Cpu& device, const float* from, const std::int32_t* ids,
                      std::int64_t rows, std::int64_t size, float* table);
void scatter_add_rows(const tensor::Cuda& device, const tensor::Bf16* from, const std::int32_t* ids,
                      std::int64_t rows, std::int64_t size, float* table);
void scatter_add_rows(const tensor::Reference& device, const double* from, const std::int32_t* ids,
                      std::int64_t rows, std::int64_t size, double* table);

}  // namespace finetuned::kernels
