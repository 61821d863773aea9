// The kernels with the shapes of real models, beside the processor's in single precision. Both read the same bfloat16 values.

#include <cmath>

#include "tests/kernel_cases/twins.h"
#include "trainer/kernels/attention.h"
#include "trainer/kernels/cross_entropy.h"
#include "trainer/kernels/gemm.h"
#include "trainer/kernels/lora.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/swiglu.h"

namespace finetuned::kernel_cases {
namespace {

using namespace kernels;
using tensor::Bf16;
using tensor::Cpu;
using tensor::Cuda;

template <class Type>
using Pair = Twin<Type, float>;

struct Heads {
  std::int64_t heads, kv_heads, head_dim;
  std::vector<std::int32_t> lengths;
};

/// What a sum of `terms` numbers of about `size` may be off where it is rounded to bfloat16, or its terms were.
double sum_error(double terms, double size) { return 4e-3 * size * std::sqrt(terms); }

void attention_there_and_back(const Cuda& cuda, Check& check, const Heads& one) {
  const Cpu cpu;
  std::vector<std::int32_t> bounds{0};
  for (const std::int32_t length : one.lengths) bounds.push_back(bounds.back() + length);
  const Numbers<std::int32_t> cu(cuda, bounds);
  const auto shape = [&](const std::int32_t* at) {
    Attention made{static_cast<std::int64_t>(one.lengths.size()), one.heads, one.kv_heads, one.head_dim, 0};
    made.cu_queries = made.key_begin = at;
    made.key_end = at + 1;
    made.queries = bounds.back();
    return made;
  };
  const std::int64_t tokens = bounds.back(), q_size = tokens * one.heads * one.head_dim, kv_size = tokens * one.kv_heads * one.head_dim;
  Pair<Bf16> q(cuda, q_size, 1, 2), k(cuda, kv_size, 2), v(cuda, kv_size, 3), out(cuda, q_size), d_out(cuda, q_size, 4), dq(cuda, q_size),
      dk(cuda, kv_size), dv(cuda, kv_size);
  Pair<float> lse(cuda, one.heads * tokens), dot(cuda, one.heads * tokens);
  attention(cuda, shape(cu.gpu()), q.gpu(), k.gpu(), v.gpu(), out.gpu(), lse.gpu());
  attention(cpu, shape(cu.oracle()), q.oracle(), k.oracle(), v.oracle(), out.oracle(), lse.oracle());
  out.compare(check, "out", 6e-3, 0);
  lse.compare(check, "lse", 2e-5, 2e-5);
  attention_backward(cuda, shape(cu.gpu()), q.gpu(), k.gpu(), v.gpu(), out.gpu(), lse.gpu(), d_out.gpu(), dq.gpu(), dk.gpu(), dv.gpu(),
                     dot.gpu());
  attention_backward(cpu, shape(cu.oracle()), q.oracle(), k.oracle(), v.oracle(), out.oracle(), lse.oracle(), d_out.oracle(), dq.oracle(),
                     dk.oracle(), dv.oracle(), dot.oracle());
  const double group = static_cast<double>(one.heads / one.kv_heads);
  dq.compare(check, "dq", 3e-2, 2e-2);
  dk.compare(check, "dk", 4e-2 * std::sqrt(group), 2e-2);
  dv.compare(check, "dv", 3e-2 * std::sqrt(group), 1e-2);
}

struct Product {
  std::int64_t m, n, k;
};

/// x [m, k] weight^T [k, n], and the way back with the same weight; the low-rank products of an adapter on it.
void linear(const Cuda& cuda, Check& check, const Product& one) {
  const Cpu cpu;
  constexpr std::int64_t kRank = 16;
  Pair<Bf16> x(cuda, one.m * one.k, 1), weight(cuda, one.n * one.k, 2), y(cuda, one.m * one.n), dy(cuda, one.m * one.n, 3),
      dx(cuda, one.m * one.k), a(cuda, kRank * one.k, 4), low(cuda, one.m * kRank);
  Pair<float> a_gradient(cuda, kRank * one.k);
  const auto product = [&](std::int64_t n, std::int64_t k, bool transposed, auto* left, auto* weight_at, auto* c) {
    Gemm<std::remove_reference_t<decltype(*c)>> g;
    g.m = one.m, g.n = n;
    g.products[0] = {{left, k, 1}, {weight_at, one.k, transposed}, k};
    g.c = c, g.c_stride = n;
    return g;
  };
  gemm(cuda, product(one.n, one.k, true, x.gpu(), weight.gpu(), y.gpu()));
  gemm(cpu, product(one.n, one.k, true, x.oracle(), weight.oracle(), y.oracle()));
  y.compare(check, "x weight^T", sum_error(static_cast<double>(one.k), 1.0 / 3), 1e-2);
  gemm(cuda, product(one.k, one.n, false, dy.gpu(), weight.gpu(), dx.gpu()));
  gemm(cpu, product(one.k, one.n, false, dy.oracle(), weight.oracle(), dx.oracle()));
  dx.compare(check, "dy weight", sum_error(static_cast<double>(one.n), 1.0 / 3), 1e-2);
  const Lora shape{one.m, kRank, one.k};
  const Bf16* const as[] = {a.gpu()};
  Bf16* const lows[] = {low.gpu()};
  const float* const cpu_as[] = {a.oracle()};
  float* const cpu_lows[] = {low.oracle()};
  lora_a_forward(cuda, shape, x.gpu(), as, 2, lows);
  lora_a_forward(cpu, shape, x.oracle(), cpu_as, 2, cpu_lows);
  low.compare(check, "x A^T", sum_error(static_cast<double>(one.k), 2.0 / 3), 1e-2);
  lora_a_gradient(cuda, shape, low.gpu(), x.gpu(), a_gradient.gpu());
  lora_a_gradient(cpu, shape, low.oracle(), x.oracle(), a_gradient.oracle());
  a_gradient.compare(check, "A's gradient", sum_error(static_cast<double>(one.m * one.k), 0.5), 2e-2);
}

void rows(const Cuda& cuda, Check& check, std::int64_t count, std::int64_t size) {
  const Cpu cpu;
  const RmsNorm shape{count, size, 1e-6};
  Pair<Bf16> x(cuda, count * size, 1), weight(cuda, size, 2), y(cuda, count * size), dy(cuda, count * size, 3), dx(cuda, count * size);
  Pair<float> rstd(cuda, count), d_weight(cuda, size);
  rmsnorm(cuda, shape, x.gpu(), weight.gpu(), y.gpu(), rstd.gpu());
  rmsnorm(cpu, shape, x.oracle(), weight.oracle(), y.oracle(), rstd.oracle());
  y.compare(check, "norm", 1e-5, 1e-2);
  rstd.compare(check, "rstd", 1e-6, 1e-5);
  rmsnorm_backward(cuda, shape, dy.gpu(), x.gpu(), weight.gpu(), rstd.gpu(), false, dx.gpu(), d_weight.gpu());
  rmsnorm_backward(cpu, shape, dy.oracle(), x.oracle(), weight.oracle(), rstd.oracle(), false, dx.oracle(), d_weight.oracle());
  dx.compare(check, "norm's dx", 2e-2, 1e-2);
  d_weight.compare(check, "norm's d_weight", 1e-5 * static_cast<double>(count), 1e-4);
  swiglu(cuda, x.gpu(), dy.gpu(), count * size, y.gpu());
  swiglu(cpu, x.oracle(), dy.oracle(), count * size, y.oracle());
  y.compare(check, "swiglu", 1e-5, 1e-2);
}

void head(const Cuda& cuda, Check& check, std::int64_t count, std::int64_t hidden_size, std::int64_t vocabulary) {
  const Cpu cpu;
  const HeadLoss shape{count, hidden_size, vocabulary};
  Pair<Bf16> hidden(cuda, count * hidden_size, 1), weight(cuda, vocabulary * hidden_size, 2, 0.1), d_hidden(cuda, count * hidden_size);
  Pair<float> state(cuda, count * kHeadLossState);
  std::vector<std::int32_t> ids;
  for (std::int64_t row = 0; row < count; ++row) ids.push_back(static_cast<std::int32_t>((row * 7919 + 1) % vocabulary));
  const Numbers<std::int32_t> targets(cuda, ids);
  const LossSums got = head_loss(cuda, shape, hidden.gpu(), weight.gpu(), targets.gpu(), 1, d_hidden.gpu(), nullptr, state.gpu());
  const LossSums expected =
      head_loss(cpu, shape, hidden.oracle(), weight.oracle(), targets.oracle(), 1, d_hidden.oracle(), nullptr, state.oracle());
  check.near("loss", got.loss, expected.loss, 0, 1e-5);
  check.holds(got.correct == expected.correct, "as many are right");
  d_hidden.compare(check, "d_hidden", 2e-3, 1e-2);
}

}  // namespace

std::vector<Case> large_cases() {
  std::vector<Case> cases;
  for (const Heads& one : {Heads{14, 2, 64, {2048, 777, 1}}, Heads{8, 2, 96, {1000, 1500}}, Heads{28, 4, 128, {2048, 2048}}})
    cases.push_back({"attention, " + std::to_string(one.heads) + " heads of " + std::to_string(one.head_dim),
                     [one](const Cuda& cuda, Check& check) { attention_there_and_back(cuda, check, one); }});
  for (const Product& one : {Product{2048, 896, 896}, Product{2048, 4864, 896}, Product{2001, 3584, 18'944}, Product{17, 128, 896}})
    cases.push_back({"linear, " + std::to_string(one.m) + " x " + std::to_string(one.n) + " x " + std::to_string(one.k),
                     [one](const Cuda& cuda, Check& check) { linear(cuda, check, one); }});
  cases.push_back({"norm and swiglu, 4096 rows of 3584", [](const Cuda& cuda, Check& check) { rows(cuda, check, 4096, 3584); }});
  cases.push_back({"head loss, 1024 rows, vocabulary of 151936", [](const Cuda& cuda, Check& check) { head(cuda, check, 1024, 896, 151'936); }});
  return cases;
}

}  // namespace finetuned::kernel_cases
