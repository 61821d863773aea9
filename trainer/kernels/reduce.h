#pragma once

#include <cstdint>

#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// Sum of squares, in double, by blocks of 64 Ki elements whose sums are added in order.
double square_sum(const tensor::Cpu& device, const float* values, std::int64_t count);
double square_sum(const tensor::Cuda& device, const float* values, std::int64_t count);
double square_sum(const tensor::Reference& device, const double* values, std::int64_t count);

/// to[i] = from[i] + to[i], or where not `add` = from[i].
void accumulate(const tensor::Cpu& device, const float* from, bool add, std::int64_t count, float* to);
void accumulate(const tensor::Cuda& device, const float* from, bool add, std::int64_t count, float* to);
void accumulate(const tensor::Reference& device, const double* from, bool add, std::int64_t count, double* to);

/// to[column] += sum over rows of from [rows, columns], rows in order: a bias's gradient.
void add_column_sums(const tensor::Cpu& device, const float* from, std::int64_t rows, std::int64_t columns,
                     float* to);
void add_column_sums(const tensor::Cuda& device, const tensor::Bf16* from, std::int64_t rows,
                     std::int64_t columns, float* to);
void add_column_sums(const tensor::Reference& device, const double* from, std::int64_t rows,
                     std::int64_t columns, double* to);

}  // namespace finetuned::kernels
