#pragma once

#include "trainer/kernels/dropout.h"

namespace finetuned::kernels {

/// The key of a token's draws.
constexpr std::uint64_t dropout_key(const Dropout& shape, std::int64_t token) {
  return random_key(shape.key, shape.token_keys[token], static_cast<std::uint64_t>(shape.positions[token]));
}

/// Elements 2 pair and 2 pair + 1 of a token share a number; whether the one of them that `side` names is kept.
constexpr bool dropout_keeps(const Dropout& shape, std::uint64_t token_key, std::int64_t pair, int side) {
  const std::uint64_t bits = random_bits(token_key, static_cast<std::uint64_t>(pair));
  return static_cast<std::uint32_t>(bits >> (32 * side)) <=
         static_cast<std::uint32_t>((1 - shape.probability) * 4294967295.0);
}

template <class Real>
void dropout_token(const Dropout& shape, std::int64_t token, const Real* x, bool add, Real* out) {
  const std::uint64_t key = dropout_key(shape, token);
  const Real scale = static_cast<Real>(1 / (1 - shape.probability));
  x += token * shape.size;
  out += token * shape.size;
  for (std::int64_t i = 0; i < shape.size; i += 2) {
    for (int side = 0; side < 2 && i + side < shape.size; ++side) {
      const Real value = dropout_keeps(shape, key, i / 2, side) ? x[i + side] * scale : Real(0);
      out[i + side] = add ? out[i + side] + value : value;
    }
  }
}

}  // namespace finetuned::kernels
