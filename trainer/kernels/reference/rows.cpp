// The oracle's row by row kernels, in double.

#include <algorithm>
#include <cmath>

#include "trainer/kernels/adamw.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/dropout_math.h"
#include "trainer/kernels/embedding.h"
#include "trainer/kernels/reduce.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/swiglu.h"

namespace finetuned::kernels {

using tensor::Reference;

void rmsnorm(const Reference& device, const RmsNorm& shape, const double* x, const double* weight, double* y,
             double* rstd) {
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    double total = 0;
    for (std::int64_t i = 0; i < shape.size; ++i)
      total += x[row * shape.size + i] * x[row * shape.size + i];
    rstd[row] = 1 / std::sqrt(total / static_cast<double>(shape.size) + shape.eps);
  }
  rmsnorm_apply(device, shape, x, weight, rstd, y);
}

void rmsnorm_apply(const Reference&, const RmsNorm& shape, const double* x, const double* weight,
                   const double* rstd, double* y) {
  for (std::int64_t row = 0; row < shape.rows; ++row)
    for (std::int64_t i = 0; i < shape.size; ++i)
      y[row * shape.size + i] = x[row * shape.size + i] * rstd[row] * weight[i];
}

void rmsnorm_backward(const Reference&, const RmsNorm& shape, const double* dy, const double* x,
                      const double* weight, const double* rstd, bool add, double* dx, double* d_weight) {
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    const std::int64_t at = row * shape.size;
    const double r = rstd[row];
    double mean = 0;  // of weight dy x_hat
    for (std::int64_t i = 0; i < shape.size; ++i) {
      mean += dy[at + i] * weight[i] * x[at + i] * r;
      if (d_weight) d_weight[i] += dy[at + i] * x[at + i] * r;
    }
    mean /= static_cast<double>(shape.size);
    for (std::int64_t i = 0; i < shape.size; ++i) {
      const double d = r * (dy[at + i] * weight[i] - x[at + i] * r * mean);
      dx[at + i] = add ? dx[at + i] + d : d;
    }
  }
}

void rope(const Reference&, const Rope& shape, const double* cosines, const double* sines,
          const std::int32_t* positions, double* x) {
  const std::int64_t half = shape.head_dim / 2;
  for (std::int64_t row = 0; row < shape.tokens * shape.heads; ++row) {
    double* head = x + row * shape.head_dim;
    for (std::int64_t i = 0; i < half; ++i) {
      const std::int64_t angle = positions[row / shape.heads] * half + i;
      const double c = cosines[angle], s = shape.backward ? -sines[angle] : sines[angle];
      const double a = head[i], b = head[half + i];
      head[i] = a * c - b * s;
      head[half + i] = b * c + a * s;
    }
  }
}

void swiglu(const Reference&, const double* gate, const double* up, std::int64_t count, double* out) {
  for (std::int64_t i = 0; i < count; ++i)
    out[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}

void swiglu_backward(const Reference&, const double* d_out, double* gate, double* up, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const double g = gate[i], s = 1 / (1 + std::exp(-g));
    gate[i] = d_out[i] * up[i] * s * (1 + g * (1 - s));
    up[i] = d_out[i] * g * s;
  }
}

void gather_rows(const Reference& device, const double* table, const std::int32_t* ids, std::int64_t rows,
                 std::int64_t size, double* out) {
  for (std::int64_t i = 0; i < rows; ++i)
    device.copy(out + i * size, table + ids[i] * size, size);
}

void scatter_rows(const Reference&, const double* from, const std::int32_t* ids, std::int64_t rows,
                  std::int64_t size, double* table) {
  for (std::int64_t i = 0; i < rows; ++i)
    std::copy_n(from + i * size, size, table + ids[i] * size);
}

void scatter_add_rows(const Reference&, const double* from, const std::int32_t* ids, std::int64_t rows,
                      std::int64_t size, double* table) {
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < size; ++j)
      table[ids[i] * size + j] += from[i * size + j];
}

void adamw(const Reference&, const AdamW& settings, std::int64_t step, double gradient_scale, double* value,
           const double* gradient, double* first, double* second, std::int64_t count) {
  const double correction1 = 1 - std::pow(settings.beta1, static_cast<double>(step));
  const double correction2 = 1 - std::pow(settings.beta2, static_cast<double>(step));
  for (std::int64_t i = 0; i < count; ++i) {
    const double g = gradient[i] * gradient_scale;
    value[i] *= 1 - settings.learning_rate * settings.weight_decay;
    first[i] = settings.beta1 * first[i] + (1 - settings.beta1) * g;
    second[i] = settings.beta2 * second[i] + (1 - settings.beta2) * g * g;
    value[i] -= settings.learning_rate / correction1 * first[i] /
                (std::sqrt(second[i] / correction2) + settings.epsilon);
  }
}

void dropout(const Reference&, const Dropout& shape, const double* x, bool add, double* out) {
  for (std::int64_t token = 0; token < shape.tokens; ++token)
    dropout_token(shape, token, x, add, out);
}

void accumulate(const Reference&, const double* from, bool add, std::int64_t count, double* to) {
  for (std::int64_t i = 0; i < count; ++i)
    to[i] = add ? from[i] + to[i] : from[i];
}

double square_sum(const Reference&, const double* values, std::int64_t count) {
  double total = 0;
  for (std::int64_t i = 0; i < count; ++i)
    total += values[i] * values[i];
  return total;
}

void add_column_sums(const Reference&, const double* from, std::int64_t rows, std::int64_t columns,
                     double* to) {
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t i = 0; i < columns; ++i)
      to[i] += from[row * columns + i];
}

}  // namespace finetuned::kernels
