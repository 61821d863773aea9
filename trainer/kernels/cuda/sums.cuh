#pragma once

// Sums in a fixed order, without atomics, for blocks of kThreads.

#include "trainer/kernels/cuda/launch.cuh"

namespace finetuned::kernels::cuda {

/// The warp's sum, the same bits in each lane: a butterfly, so its order is fixed.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

/// The block's sum of one number a thread, in every thread: lanes, then warps in their order. Once in a kernel.
template <class T>
__device__ T block_sum(T value) {
  __shared__ T of_warps[kThreads / kWarp];
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  T total = 0;
  for (int warp = 0; warp < kThreads / kWarp; ++warp) total += of_warps[warp];
  return total;
}

inline constexpr int kSumColumns = kWarp;  // of a block of add_columns

/// to[column] += the sum over rows of at(row, column), for the block's kSumColumns columns: lane l of a column adds rows l, l + 8,
/// ..., then the lanes add up in their order.
template <class At>
__device__ __forceinline__ void add_columns(std::int64_t rows, std::int64_t columns, float* to, const At& at) {
  constexpr int kLanes = kThreads / kSumColumns;
  __shared__ float sums[kLanes][kSumColumns];
  const unsigned lane = threadIdx.x / kSumColumns, of_block = threadIdx.x % kSumColumns;
  const std::int64_t column = std::int64_t{blockIdx.x} * kSumColumns + of_block;
  float sum = 0;
  for (std::int64_t row = lane; row < rows && column < columns; row += kLanes) sum += at(row, column);
  sums[lane][of_block] = sum;
  __syncthreads();
  if (lane != 0 || column >= columns) return;
  for (int other = 1; other < kLanes; ++other) sum += sums[other][of_block];
  to[column] += sum;
}

}  // namespace finetuned::kernels::cuda
