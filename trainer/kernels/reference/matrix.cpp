// The oracle's products, loss and attention: the formulas as they are written, in double.

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/expects.h"
#include "trainer/kernels/attention.h"
#include "trainer/kernels/cross_entropy.h"
#include "trainer/kernels/gemm.h"
#include "trainer/kernels/lora.h"

namespace finetuned::kernels {

namespace {

double product(const Left<double>& left, const Right<double>& right, std::int64_t row, std::int64_t column,
               std::int64_t depth) {
  double total = 0;
  for (std::int64_t k = 0; k < depth; ++k) {
    const double b =
        right.transposed ? right.data[column * right.stride + k] : right.data[k * right.stride + column];
    total += left.data[row * left.row_stride + k * left.k_stride] * b;
  }
  return total;
}

std::int64_t first_key(const Attention& shape, std::int64_t position) {
  return shape.window > 0 ? std::max<std::int64_t>(0, position + 1 - shape.window) : 0;
}

double dot(const double* a, const double* b, std::int64_t count) {
  double total = 0;
  for (std::int64_t i = 0; i < count; ++i)
    total += a[i] * b[i];
  return total;
}

/// Where query `query` of `sequence`, head `head`, lies, and what it sees: keys [first, last].
struct Row {
  std::int64_t q_at, kv_head, lse_at, key_at, first, last;
};
Row row_of(const Attention& shape, std::int64_t sequence, std::int64_t query, std::int64_t head) {
  const std::int64_t q0 = shape.cu_queries[sequence], k0 = shape.key_begin[sequence];
  const std::int64_t queries = shape.cu_queries[sequence + 1] - q0, keys = shape.key_end[sequence] - k0;
  const std::int64_t position = keys - queries + query;
  return {((q0 + query) * shape.heads + head) * shape.head_dim,
          head / (shape.heads / shape.kv_heads),
          head * shape.cu_queries[shape.sequences] + q0 + query,
          k0,
          first_key(shape, position),
          position};
}

template <class Use>
void each_row(const Attention& shape, const Use& use) {
  for (std::int64_t sequence = 0; sequence < shape.sequences; ++sequence)
    for (std::int64_t query = 0; query < shape.cu_queries[sequence + 1] - shape.cu_queries[sequence]; ++query)
      for (std::int64_t head = 0; head < shape.heads; ++head)
        use(row_of(shape, sequence, query, head));
}

}  // namespace

void gemm(const tensor::Reference&, std::span<const Gemm<double>> group) {
  for (const Gemm<double>& g : group)
    for (std::int64_t row = 0; row < g.m; ++row)
      for (std::int64_t column = 0; column < g.n; ++column) {
        double total = 0;
        for (const Product<double>& one : g.products)
          total += product(one.left, one.right, row, column, one.k);
        const std::int64_t at = row * g.c_stride + column;
        g.c[at] = (g.start ? g.start[at] : 0) + (g.bias ? g.bias[column] : 0) + g.alpha * total;
      }
}

void lora_a_forward(const tensor::Reference&, const Lora& shape, const double* x,
                    std::span<const double* const> a, double scale, std::span<double* const> out) {
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::int64_t token = 0; token < shape.tokens; ++token)
      for (std::int64_t j = 0; j < shape.rank; ++j)
        out[i][token * shape.rank + j] =
            scale * dot(x + token * shape.size, a[i] + j * shape.size, shape.size);
}

void lora_b_backward(const tensor::Reference&, const Lora& shape, const double* dy, const double* b,
                     double scale, double* d_low) {
  for (std::int64_t token = 0; token < shape.tokens; ++token)
    for (std::int64_t j = 0; j < shape.rank; ++j) {
      double total = 0;
      for (std::int64_t i = 0; i < shape.size; ++i)
        total += dy[token * shape.size + i] * b[i * shape.rank + j];
      d_low[token * shape.rank + j] = scale * total;
    }
}

void lora_a_gradient(const tensor::Reference&, const Lora& shape, const double* d_low, const double* x,
                     double* gradient) {
  for (std::int64_t token = 0; token < shape.tokens; ++token)
    for (std::int64_t j = 0; j < shape.rank; ++j)
      for (std::int64_t i = 0; i < shape.size; ++i)
        gradient[j * shape.size + i] += d_low[token * shape.rank + j] * x[token * shape.size + i];
}

void lora_b_gradient(const tensor::Reference&, const Lora& shape, const double* low, const double* dy,
                     double* gradient) {
  for (std::int64_t token = 0; token < shape.tokens; ++token)
    for (std::int64_t i = 0; i < shape.size; ++i)
      for (std::int64_t j = 0; j < shape.rank; ++j)
        gradient[i * shape.rank + j] += dy[token * shape.size + i] * low[token * shape.rank + j];
}

PendingLoss begin_head_loss(const tensor::Reference&, const HeadLoss& shape, const double* hidden,
                            const double* weight, const std::int32_t* targets, double loss_scale, double* d_hidden,
                            double* d_weight, double*) {
  LossSums sums;
  const std::int64_t size = shape.hidden_size;
  std::vector<double> p(static_cast<std::size_t>(shape.vocab_size));
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    const double* h = hidden + row * size;
    for (std::int64_t id = 0; id < shape.vocab_size; ++id)
      p[static_cast<std::size_t>(id)] = dot(h, weight + id * size, size);
    const auto best = std::max_element(p.begin(), p.end());
    const double maximum = *best, target = p[static_cast<std::size_t>(targets[row])];
    sums.correct += best - p.begin() == targets[row];
    double total = 0;
    for (double& value : p)
      total += value = std::exp(value - maximum);
    sums.loss += maximum + std::log(total) - target;
    ++sums.supervised;
    if (d_hidden) std::fill_n(d_hidden + row * size, size, 0.0);
    for (std::int64_t id = 0; id < shape.vocab_size; ++id) {
      const double d = loss_scale * (p[static_cast<std::size_t>(id)] / total - (id == targets[row] ? 1 : 0));
      for (std::int64_t i = 0; i < size; ++i) {
        if (d_hidden) d_hidden[row * size + i] += d * weight[id * size + i];
        if (d_weight) d_weight[id * size + i] += d * h[i];
      }
    }
  }
  return {sums, {}};
}

void attention(const tensor::Reference&, const Attention& shape, const double* q, const double* k,
               const double* v, double* out, double* lse) {
  base::expects(!shape.pages, "keys lie in one piece here");
  const std::int64_t d = shape.head_dim;
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  std::vector<double> p;
  each_row(shape, [&](const Row& row) {
    const auto kv = [&](const double* from, std::int64_t key) {
      return from + ((row.key_at + key) * shape.kv_heads + row.kv_head) * d;
    };
    p.clear();
    for (std::int64_t key = row.first; key <= row.last; ++key)
      p.push_back(scale * dot(q + row.q_at, kv(k, key), d));
    const double maximum = *std::max_element(p.begin(), p.end());
    double total = 0;
    for (double& value : p)
      total += value = std::exp(value - maximum);
    lse[row.lse_at] = maximum + std::log(total);
    std::fill_n(out + row.q_at, d, 0.0);
    for (std::int64_t key = row.first; key <= row.last; ++key)
      for (std::int64_t i = 0; i < d; ++i)
        out[row.q_at + i] += p[static_cast<std::size_t>(key - row.first)] / total * kv(v, key)[i];
  });
}

void attention_backward(const tensor::Reference&, const Attention& shape, const double* q, const double* k,
                        const double* v, const double* out, const double* lse, const double* d_out,
                        double* dq, double* dk, double* dv, double* row_dot) {
  const std::int64_t d = shape.head_dim;
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  std::fill_n(dq, shape.cu_queries[shape.sequences] * shape.heads * d, 0.0);
  std::fill_n(dk, shape.key_end[shape.sequences - 1] * shape.kv_heads * d, 0.0);
  std::fill_n(dv, shape.key_end[shape.sequences - 1] * shape.kv_heads * d, 0.0);
  each_row(shape, [&](const Row& row) {
    row_dot[row.lse_at] = dot(out + row.q_at, d_out + row.q_at, d);
    for (std::int64_t key = row.first; key <= row.last; ++key) {
      const std::int64_t at = ((row.key_at + key) * shape.kv_heads + row.kv_head) * d;
      const double p = std::exp(scale * dot(q + row.q_at, k + at, d) - lse[row.lse_at]);
      const double ds = scale * p * (dot(d_out + row.q_at, v + at, d) - row_dot[row.lse_at]);
      for (std::int64_t i = 0; i < d; ++i) {
        dv[at + i] += p * d_out[row.q_at + i];
        dk[at + i] += ds * q[row.q_at + i];
        dq[row.q_at + i] += ds * k[at + i];
      }
    }
  });
}

}  // namespace finetuned::kernels
