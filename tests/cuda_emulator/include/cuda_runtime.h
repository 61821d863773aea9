#pragma once

// What the kernels use of the CUDA toolkit's header of this name, on the emulator (tests/cuda_emulator/emulator.h).

#include <bit>
#include <cstdint>
#include <cstring>
#include <math.h>

#include "tests/cuda_emulator/emulator.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

#define threadIdx (::finetuned::cuda_emulator::self().thread)
#define blockIdx (::finetuned::cuda_emulator::self().block)
#define blockDim (::finetuned::cuda_emulator::self().block_size)
#define gridDim (::finetuned::cuda_emulator::self().grid_size)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned of_x = 1, unsigned of_y = 1, unsigned of_z = 1) : x(of_x), y(of_y), z(of_z) {}
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline void __syncthreads() { finetuned::cuda_emulator::wait_for_block(); }

template <class T>
T emulated_shuffle(T value, unsigned from) {
  T all[32];
  std::memcpy(all, finetuned::cuda_emulator::exchange_in_warp(&value, sizeof value), sizeof all);
  return all[from % 32];
}
template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  return emulated_shuffle(value, static_cast<unsigned>(lane));
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulated_shuffle(value, finetuned::cuda_emulator::self().lane ^ static_cast<unsigned>(mask));
}

inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}
template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}
