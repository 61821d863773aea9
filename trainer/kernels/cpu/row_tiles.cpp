#include "trainer/kernels/cpu/row_tiles.h"

namespace finetuned::kernels::FINETUNED_ISA {

namespace {

/// Calls step(offset, lanes in use) over `count` values; the last call may use a part of the lanes.
template <class Step>
FINETUNED_INLINE void each(std::int64_t count, Step step) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    step(i, kLanes);
  if (i < count) step(i, count - i);
}
FINETUNED_INLINE Vector get(const float* from, std::int64_t lanes) {
  return lanes == kLanes ? load(from) : load_part(from, lanes);
}
FINETUNED_INLINE void put(float* to, Vector v, std::int64_t lanes) {
  if (lanes == kLanes) {
    store(to, v);
  } else {
    store_part(to, v, lanes);
  }
}

FINETUNED_INLINE Vector sigmoid(Vector x) {
  return broadcast(1.0f) / (broadcast(1.0f) + exp(-x));
}

FINETUNED_INLINE float square_root(float x) {
  return __builtin_sqrtf(x);
}

}  // namespace

float dot(const float* a, const float* b, std::int64_t count) {
  Vector total{};
  each(count, [&](std::int64_t i, std::int64_t lanes) { total += get(a + i, lanes) * get(b + i, lanes); });
  return sum(total);
}

void rmsnorm(const float* x, const float* weight, std::int64_t rows, std::int64_t size, std::int64_t stride,
             float eps, float* y, float* rstd) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const float mean = dot(x + row * stride, x + row * stride, size) / static_cast<float>(size);
    rstd[row] = 1.0f / square_root(mean + eps);
  }
  rmsnorm_apply(x, weight, rstd, rows, size, stride, y);
}

void rmsnorm_apply(const float* x, const float* weight, const float* rstd, std::int64_t rows,
                   std::int64_t size, std::int64_t stride, float* y) {
  for (std::int64_t row = 0; row < rows; ++row, x += stride, y += stride) {
    const Vector factor = broadcast(rstd[row]);
    each(size, [&](std::int64_t i, std::int64_t lanes) {
      put(y + i, get(x + i, lanes) * factor * get(weight + i, lanes), lanes);
    });
  }
}

void rmsnorm_backward(const float* dy, const float* x, const float* weight, const float* rstd,
                      std::int64_t rows, std::int64_t size, std::int64_t stride, bool add, float* dx) {
  for (std::int64_t row = 0; row < rows; ++row, x += stride, dy += stride, dx += stride) {
    Vector total{};
    each(size, [&](std::int64_t i, std::int64_t lanes) {
      total += get(dy + i, lanes) * get(weight + i, lanes) * get(x + i, lanes);
    });
    const float r = rstd[row];
    const Vector factor = broadcast(r);
    const Vector pull = broadcast(sum(total) * r * r * r / static_cast<float>(size));
    each(size, [&](std::int64_t i, std::int64_t lanes) {
      const Vector d = factor * get(dy + i, lanes) * get(weight + i, lanes) - get(x + i, lanes) * pull;
      put(dx + i, add ? get(dx + i, lanes) + d : d, lanes);
    });
  }
}

void swiglu(const float* gate, const float* up, std::int64_t count, float* out) {
  each(count, [&](std::int64_t i, std::int64_t lanes) {
    const Vector g = get(gate + i, lanes);
    put(out + i, g * sigmoid(g) * get(up + i, lanes), lanes);
  });
}

void swiglu_backward(const float* d_out, float* gate, float* up, std::int64_t count) {
  each(count, [&](std::int64_t i, std::int64_t lanes) {
    const Vector g = get(gate + i, lanes);
    const Vector u = get(up + i, lanes);
    const Vector d = get(d_out + i, lanes);
    const Vector s = sigmoid(g);
    put(gate + i, d * u * s * (broadcast(1.0f) + g * (broadcast(1.0f) - s)), lanes);
    put(up + i, d * g * s, lanes);
  });
}

void rotate(float* x, const float* cosines, const float* sines, std::int64_t heads, std::int64_t half,
            float sign) {
  const Vector turn = broadcast(sign);
  for (std::int64_t head = 0; head < heads; ++head, x += 2 * half) {
    each(half, [&](std::int64_t i, std::int64_t lanes) {
      const Vector a = get(x + i, lanes), b = get(x + half + i, lanes);
      const Vector c = get(cosines + i, lanes), s = get(sines + i, lanes) * turn;
      put(x + i, a * c - b * s, lanes);
      put(x + half + i, b * c + a * s, lanes);
    });
  }
}

float softmax_chunk(float* logits, std::int64_t count, std::int64_t first_id, SoftmaxRow& row) {
  float chunk = -__builtin_inff();
  Vector top = broadcast(chunk);
  std::int64_t whole = count / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes)
    top = max(load(logits + i), top);
  if (whole > 0) chunk = greatest(top);
  for (std::int64_t i = whole; i < count; ++i)
    chunk = logits[i] > chunk ? logits[i] : chunk;

  float rescale = 1;
  if (chunk > row.maximum) {
    if (first_id != kNoIds) {
      std::int64_t at = 0;
      while (logits[at] != chunk)
        ++at;
      row.best = static_cast<std::int32_t>(first_id + at);
    }
    rescale = row.sum == 0 ? 1 : exp(broadcast(row.maximum - chunk))[0];
    row.maximum = chunk;
  }
  const Vector maximum = broadcast(row.maximum);
  Vector total{};
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    const Vector e = exp(load(logits + i) - maximum);
    total += e;
    store(logits + i, e);
  }
  float sum_of_chunk = sum(total);
  if (whole < count) {
    const Vector e = exp(load_part(logits + whole, count - whole) - maximum);
    store_part(logits + whole, e, count - whole);
    for (std::int64_t i = whole; i < count; ++i)
      sum_of_chunk += logits[i];
  }
  row.sum = row.sum * rescale + sum_of_chunk;
  return rescale;
}

void exp_shifted(float* values, std::int64_t count, float offset, float factor) {
  each(count, [&](std::int64_t i, std::int64_t lanes) {
    put(values + i, exp(get(values + i, lanes) - broadcast(offset)) * broadcast(factor), lanes);
  });
}

void softmax_backward(const float* p, const float* dp, float d, float factor, std::int64_t count, float* ds) {
  each(count, [&](std::int64_t i, std::int64_t lanes) {
    put(ds + i, get(p + i, lanes) * (get(dp + i, lanes) - broadcast(d)) * broadcast(factor), lanes);
  });
}

void scale(float* values, std::int64_t count, float factor) {
  each(count, [&](std::int64_t i, std::int64_t lanes) {
    put(values + i, get(values + i, lanes) * broadcast(factor), lanes);
  });
}

void add_scaled(float* to, const float* from, float factor, std::int64_t count) {
  each(count, [&](std::int64_t i, std::int64_t lanes) {
    put(to + i, get(to + i, lanes) + get(from + i, lanes) * broadcast(factor), lanes);
  });
}

void adamw(const AdamWFactors& f, float* value, const float* gradient, float* first, float* second,
           std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * f.scale;
    first[i] = f.beta1 * first[i] + (1 - f.beta1) * g;
    second[i] = f.beta2 * second[i] + (1 - f.beta2) * g * g;
    value[i] = value[i] * f.keep - f.step * first[i] / (square_root(second[i]) * f.spread + f.epsilon);
  }
}

}  // namespace finetuned::kernels::FINETUNED_ISA
