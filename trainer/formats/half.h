#pragma once

#include <bit>
#include <cstdint>

namespace finetuned::formats {

/// bfloat16: the upper half of a float. Exact.
inline float bf16_to_f32(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

/// To the nearest bfloat16, ties to even; NaN stays NaN.
inline std::uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/// IEEE 754 binary16, subnormals included. Exact.
float f16_to_f32(std::uint16_t bits);

/// To the nearest binary16, ties to even; beyond 65504 + half a step infinity; NaN stays NaN.
std::uint16_t f32_to_f16(float value);

}  // namespace finetuned::formats
