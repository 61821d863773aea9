#pragma once

// Included only by the files that are built once for each instruction set, with FINETUNED_ISA naming it.

#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace finetuned::kernels::FINETUNED_ISA {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
inline constexpr int kTileRows = 8, kTileVectors = 3;  // 24 accumulators of 32 registers
#elif defined(__AVX2__)
inline constexpr int kLanes = 8;
inline constexpr int kTileRows = 6, kTileVectors = 2;  // 12 accumulators of 16 registers
#else
inline constexpr int kLanes = 4;
inline constexpr int kTileRows = 4, kTileVectors = 2;
#endif
inline constexpr int kPanel = kLanes * kTileVectors;  ///< columns of a packed panel

/// One register of floats, by GCC's and Clang's vector extension: on the baseline it is plain SSE2 or NEON.
using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));
using IntVector = std::int32_t __attribute__((vector_size(kLanes * sizeof(float))));

#define FINETUNED_INLINE static inline __attribute__((always_inline))

FINETUNED_INLINE Vector load(const float* from) {
  Vector v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
FINETUNED_INLINE void store(float* to, Vector v) {
  __builtin_memcpy(to, &v, sizeof v);
}
FINETUNED_INLINE Vector broadcast(float x) {
  return x - Vector{};
}

/// The first `count` lanes (0 < count < kLanes); the others are 0, or left alone. Nothing beyond them is
/// touched.
#if defined(__AVX512F__)
FINETUNED_INLINE __mmask16 first_lanes(std::int64_t count) {
  return static_cast<__mmask16>((1u << count) - 1);
}
FINETUNED_INLINE Vector load_part(const float* from, std::int64_t count) {
  return (Vector)_mm512_maskz_loadu_ps(first_lanes(count), from);
}
FINETUNED_INLINE void store_part(float* to, Vector v, std::int64_t count) {
  _mm512_mask_storeu_ps(to, first_lanes(count), (__m512)v);
}
#elif defined(__AVX2__)
FINETUNED_INLINE __m256i first_lanes(std::int64_t count) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lanes);
}
FINETUNED_INLINE Vector load_part(const float* from, std::int64_t count) {
  return (Vector)_mm256_maskload_ps(from, first_lanes(count));
}
FINETUNED_INLINE void store_part(float* to, Vector v, std::int64_t count) {
  _mm256_maskstore_ps(to, first_lanes(count), (__m256)v);
}
#else
FINETUNED_INLINE Vector load_part(const float* from, std::int64_t count) {
  Vector v{};
  __builtin_memcpy(&v, from, static_cast<std::size_t>(count) * sizeof(float));
  return v;
}
FINETUNED_INLINE void store_part(float* to, Vector v, std::int64_t count) {
  __builtin_memcpy(to, &v, static_cast<std::size_t>(count) * sizeof(float));
}
#endif

/// Where `b` is not a number the result is `b`: a diverged run shows, instead of being clamped.
FINETUNED_INLINE Vector max(Vector a, Vector b) {
  return a > b ? a : b;
}

/// The lanes folded in halves, the upper on the lower, the same order each time; the result is in lane 0.
template <int Half, class Fold, int... Lane>
FINETUNED_INLINE Vector fold_half(Vector v, const Fold& fold, std::integer_sequence<int, Lane...>) {
  return fold(v, __builtin_shufflevector(v, v, (Lane < Half ? Lane + Half : Lane)...));
}
template <int Half = kLanes / 2, class Fold>
FINETUNED_INLINE float fold_lanes(Vector v, const Fold& fold) {
  v = fold_half<Half>(v, fold, std::make_integer_sequence<int, kLanes>());
  if constexpr (Half == 1) {
    return v[0];
  } else {
    return fold_lanes<Half / 2>(v, fold);
  }
}
FINETUNED_INLINE float sum(Vector v) {
  return fold_lanes(v, [](Vector a, Vector b) { return a + b; });
}
FINETUNED_INLINE float greatest(Vector v) {
  return fold_lanes(v, [](Vector a, Vector b) { return max(a, b); });
}
FINETUNED_INLINE Vector min(Vector a, Vector b) {
  return a < b ? a : b;
}

/// e^x within 2 ulp for x in [-87, 88]; 0 or the bounds' values beyond. x = n ln 2 + r, |r| <= ln(2) / 2, and
/// a polynomial of degree 6 in r (Taylor's, its last terms fitted); ln 2 is split in two so that r keeps its
/// bits.
FINETUNED_INLINE Vector exp(Vector x) {
  const Vector zero{};
  const IntVector underflow = x < broadcast(-87.33f);
  x = min(broadcast(88.0f), max(broadcast(-87.33f), x));
  const Vector magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  const Vector shifted = x * broadcast(1.44269504088896341f) + magic;
  const Vector n = shifted - magic;
  Vector r = x - n * broadcast(0.693359375f);
  r = r - n * broadcast(-2.12194440e-4f);
  Vector p = broadcast(1.9875691500e-4f);
  p = p * r + broadcast(1.3981999507e-3f);
  p = p * r + broadcast(8.3334519073e-3f);
  p = p * r + broadcast(4.1665795894e-2f);
  p = p * r + broadcast(1.6666665459e-1f);
  p = p * r + broadcast(5.0000001201e-1f);
  p = p * r * r + r + broadcast(1.0f);
  IntVector power;
  __builtin_memcpy(&power, &shifted, sizeof power);
  power = (power - 0x4b400000 + 127) << 23;
  Vector scale;
  __builtin_memcpy(&scale, &power, sizeof scale);
  const Vector result = p * scale;
  return underflow ? zero : result;
}

}  // namespace finetuned::kernels::FINETUNED_ISA
