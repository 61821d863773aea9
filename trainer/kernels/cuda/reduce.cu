// Sums in a fixed order: no atomics.

#include "trainer/kernels/cuda/sums.cuh"
#include "trainer/kernels/reduce.h"

namespace finetuned::kernels {

using tensor::Bf16;
using tensor::Cuda;
using namespace cuda;

namespace {

constexpr std::int64_t kBlock = 64 << 10;  // elements that a block adds up

__global__ void squares(const float* values, std::int64_t count, double* sums) {
  const std::int64_t begin = std::int64_t{blockIdx.x} * kBlock, end = min(count, begin + kBlock);
  double sum = 0;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kThreads) sum += static_cast<double>(values[i]) * values[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void total(const double* sums, std::int64_t count, double* out) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *out = sum;
}

__global__ void column_sums(const __nv_bfloat16* from, std::int64_t rows, std::int64_t columns, float* to) {
  add_columns(rows, columns, to, [&](std::int64_t row, std::int64_t column) { return __bfloat162float(from[row * columns + column]); });
}

}  // namespace

double square_sum(const Cuda& device, const float* values, std::int64_t count) {
  if (count == 0) return 0;
  const std::int64_t blocks = ceiling(count, kBlock);
  base::expects((blocks + 1) * static_cast<std::int64_t>(sizeof(double)) <= static_cast<std::int64_t>(Cuda::kScratchBytes),
                "the sums of a square sum's blocks fit the scratch");
  double* const sums = static_cast<double*>(device.scratch());
  launch(device, "square sum", squares, static_cast<unsigned>(blocks), kThreads, 0, values, count, sums + 1);
  launch(device, "square sum", total, 1, kThreads, 0, sums + 1, blocks, sums);
  double sum = 0;
  device.to_host(&sum, sums, sizeof sum);
  return sum;
}

void add_column_sums(const Cuda& device, const Bf16* from, std::int64_t rows, std::int64_t columns, float* to) {
  if (rows == 0 || columns == 0) return;
  launch(device, "column sums", column_sums, static_cast<unsigned>(ceiling(columns, kSumColumns)), kThreads, 0, native(from), rows,
         columns, to);
}

}  // namespace finetuned::kernels
