#pragma once

#include "trainer/kernels/dropout.h"

namespace finetuned::kernels {

template <class Real>
void dropout_token(const Dropout& shape, std::int64_t token, const Real* x, bool add, Real* out) {
  const std::uint64_t key =
      random_key(shape.key, shape.token_keys[token], static_cast<std::uint64_t>(shape.positions[token]));
  const auto kept = static_cast<std::uint32_t>((1 - shape.probability) * 4294967295.0);
  const Real scale = static_cast<Real>(1 / (1 - shape.probability));
  x += token * shape.size;
  out += token * shape.size;
  for (std::int64_t i = 0; i < shape.size; i += 2) {
    const std::uint64_t bits = random_bits(key, static_cast<std::uint64_t>(i / 2));
    for (int side = 0; side < 2 && i + side < shape.size; ++side) {
      const auto draw = static_cast<std::uint32_t>(bits >> (32 * side));
      const Real value = draw <= kept ? x[i + side] * scale : Real(0);
      out[i + side] = add ? out[i + side] + value : value;
    }
  }
}

}  // namespace finetuned::kernels
