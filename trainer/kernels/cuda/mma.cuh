#pragma once

// The tensor cores' 16 x 8 x 16 product of bfloat16s (sm_80 and later), and how its operands come from shared memory. Fragments are
// those of the PTX ISA: with g = lane / 4 and t = lane % 4 * 2, a lane holds
//
//   a [16, 16]: (g, t..t+1), (g + 8, t..), (g, t + 8..), (g + 8, t + 8..)     two to a word
//   b [16, 8]:  (t..t+1, g), (t + 8.., g)                                     two to a word
//   d [16, 8]:  (g, t), (g, t + 1), (g + 8, t), (g + 8, t + 1)

#include "trainer/kernels/cuda/launch.cuh"

namespace finetuned::kernels::cuda {

using Left = unsigned[4];
using Right = unsigned[2];
using Sum = float[4];

/// d += a b.
__device__ __forceinline__ void mma(Sum& d, const Left& a, const Right& b) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  cuda_emulator::mma_m16n8k16(d, a, b);
#endif
}

__device__ __forceinline__ unsigned word_at(const __nv_bfloat16* at) {
#if !defined(__CUDACC__)
  cuda_emulator::check_aligned(at, sizeof(unsigned));
#endif
  return *reinterpret_cast<const unsigned*>(at);
}

/// a = rows [16] of `from` at its columns [16]; `from` points at the tile's first element.
__device__ __forceinline__ void load_left(Left& a, const __nv_bfloat16* from, int stride) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const __nv_bfloat16* at = from + lane / 4 * stride + lane % 4 * 2;
  a[0] = word_at(at);
  a[1] = word_at(at + 8 * stride);
  a[2] = word_at(at + 8);
  a[3] = word_at(at + 8 * stride + 8);
}

/// b(k, n) = from[n * stride + k]: the rows of `from` are b's columns.
__device__ __forceinline__ void load_right(Right& b, const __nv_bfloat16* from, int stride) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const __nv_bfloat16* at = from + lane / 4 * stride + lane % 4 * 2;
  b[0] = word_at(at);
  b[1] = word_at(at + 8);
}

/// Two b's side by side, b(k, n) = from[k * stride + n], n < 16. `from` is in shared memory, its rows aligned to 16 bytes.
__device__ __forceinline__ void load_right_rows(Right& first, Right& second, const __nv_bfloat16* from, int stride) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const __nv_bfloat16* row = from + lane % 16 * stride + lane / 16 * 8;
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(first[0]), "=r"(first[1]), "=r"(second[0]), "=r"(second[1])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
#else
  unsigned words[4];
  cuda_emulator::load_matrices_transposed(words, row);
  first[0] = words[0], first[1] = words[1], second[0] = words[2], second[1] = words[3];
#endif
}

/// Two sums' columns, 16 in all, as the left operand of a product over them.
__device__ __forceinline__ void as_left(Left& a, const Sum& first, const Sum& second) {
  a[0] = Pack<8>::both(first[0], first[1]);
  a[1] = Pack<8>::both(first[2], first[3]);
  a[2] = Pack<8>::both(second[0], second[1]);
  a[3] = Pack<8>::both(second[2], second[3]);
}

/// Over the four lanes that hold a row of a Sum.
__device__ __forceinline__ float row_sum(float value) {
  value += __shfl_xor_sync(0xffffffffu, value, 1);
  return value + __shfl_xor_sync(0xffffffffu, value, 2);
}
__device__ __forceinline__ float row_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

}  // namespace finetuned::kernels::cuda
