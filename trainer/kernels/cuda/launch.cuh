#pragma once

// How kernels are started. They are CUDA C++; compiled as plain C++ against tests/cuda_emulator they run on the processor.

#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <string>

#include "base/expects.h"
#include "trainer/tensor/cuda.h"
#include "trainer/tensor/gpu_timer.h"

namespace finetuned::kernels::cuda {

inline constexpr int kWarp = 32;
inline constexpr int kThreads = 256;  // of a block, where nothing asks for another number

/// How many blocks of `size` cover `count`.
constexpr std::int64_t ceiling(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

/// A grid's blocks for `count` pieces of work; where there are more, its threads walk over them in strides.
inline constexpr std::int64_t kMostBlocks = 1 << 20;
inline unsigned blocks_for(std::int64_t count, std::int64_t a_block) {
  const std::int64_t blocks = ceiling(count, a_block);
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

/// Starts `kernel` on the device's stream; `name`, a literal, is for messages and the profile.
template <class... Parameters, class... Arguments>
void launch(const tensor::Cuda& device, const char* name, void (*kernel)(Parameters...), dim3 grid, int threads,
            std::size_t shared_bytes, Arguments... arguments) {
  base::expects(grid.x > 0 && grid.y > 0 && grid.z > 0 && threads > 0, "a kernel is started for some work");
  const tensor::GpuTimer timer(device, name);
#if defined(__CUDACC__)
  device.use();
  if (shared_bytes > 48 * 1024) {
    const cudaError_t raised = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                    static_cast<int>(shared_bytes));
    if (raised != cudaSuccess) throw tensor::CudaFailed(std::string(name) + ": " + cudaGetErrorString(raised));
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(device.stream());
  const cudaError_t started = cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
  if (started != cudaSuccess) throw tensor::CudaFailed(std::string(name) + ": " + cudaGetErrorString(started));
#else
  (void)device;
  (void)name;
  cuda_emulator::start([=] {
    cuda_emulator::run_grid({grid.x, grid.y, grid.z}, {static_cast<unsigned>(threads), 1, 1}, shared_bytes,
                            [&] { kernel(static_cast<Parameters>(arguments)...); });
  });
#endif
}

/// The block's dynamic shared memory.
template <class T>
__device__ T* dynamic_shared() {
#if defined(__CUDACC__)
  extern __shared__ __align__(128) unsigned char finetuned_shared[];
  return reinterpret_cast<T*>(finetuned_shared);
#else
  return reinterpret_cast<T*>(cuda_emulator::dynamic_shared());
#endif
}

/// tensor::Bf16 as CUDA names it.
inline __nv_bfloat16* native(tensor::Bf16* p) { return reinterpret_cast<__nv_bfloat16*>(p); }
inline const __nv_bfloat16* native(const tensor::Bf16* p) { return reinterpret_cast<const __nv_bfloat16*>(p); }

/// kSize bfloat16s that are read and written at once: 16 bytes of 8, or one by one.
template <int kSize>
struct Pack {
  static_assert(kSize == 8 || kSize == 1);
  float values[kSize];

  __device__ __forceinline__ static Pack load(const __nv_bfloat16* from) {
    Pack pack;
    if constexpr (kSize == 8) {
      const uint4 raw = *reinterpret_cast<const uint4*>(from);
      const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        pack.values[2 * i] = low_half(words[i]);
        pack.values[2 * i + 1] = high_half(words[i]);
      }
    } else {
      pack.values[0] = __bfloat162float(*from);
    }
    return pack;
  }

  __device__ __forceinline__ void store(__nv_bfloat16* to) const {
    if constexpr (kSize == 8) {
      unsigned words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) words[i] = both(values[2 * i], values[2 * i + 1]);
      uint4 raw;
      raw.x = words[0], raw.y = words[1], raw.z = words[2], raw.w = words[3];
      *reinterpret_cast<uint4*>(to) = raw;
    } else {
      *to = __float2bfloat16_rn(values[0]);
    }
  }

  __device__ __forceinline__ static float low_half(unsigned word) { return bits_to_float(word << 16); }
  __device__ __forceinline__ static float high_half(unsigned word) { return bits_to_float(word & 0xffff0000u); }
  __device__ __forceinline__ static float bits_to_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
  }
  __device__ __forceinline__ static unsigned both(float low, float high) {
    const __nv_bfloat16 pair[2] = {__float2bfloat16_rn(low), __float2bfloat16_rn(high)};
    unsigned word;
    memcpy(&word, pair, sizeof word);
    return word;
  }
};

/// Whether rows of `size` bfloat16s at these addresses can be read 8 at a time.
template <class... Pointers>
bool in_eights(std::int64_t size, Pointers... pointers) {
  return size % 8 == 0 && ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

}  // namespace finetuned::kernels::cuda
