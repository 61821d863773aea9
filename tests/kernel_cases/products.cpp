#include "tests/kernel_cases/twins.h"
#include "trainer/kernels/cross_entropy.h"
#include "trainer/kernels/gemm.h"
#include "trainer/kernels/lora.h"

namespace finetuned::kernels {
namespace {

using kernel_cases::Check;
using tensor::Bf16;
using tensor::Cuda;
using tensor::Reference;

const Reference oracle;

void chain_with_bias_and_start(const Cuda& cuda, Check& check) {
  constexpr std::int64_t kM = 5, kN = 7, kK = 9, kRank = 3;
  Twin<Bf16> x(cuda, kM * kK, 1), weight(cuda, kN * kK, 2), low(cuda, kM * kRank, 3), b(cuda, kN * kRank, 4), bias(cuda, kN, 5),
      start(cuda, kM * kN, 6), c(cuda, kM * kN);
  const auto chain = [&](auto* c_at, auto* x_at, auto* weight_at, auto* low_at, auto* b_at, auto* bias_at, auto* start_at) {
    Gemm<std::remove_reference_t<decltype(*c_at)>> g;
    g.m = kM, g.n = kN;
    g.products[0] = {{x_at, kK, 1}, {weight_at, kK, true}, kK};
    g.products[1] = {{low_at, kRank, 1}, {b_at, kRank, true}, kRank};
    g.c = c_at, g.c_stride = kN, g.start = start_at, g.bias = bias_at;
    return g;
  };
  gemm(cuda, chain(c.gpu(), x.gpu(), weight.gpu(), low.gpu(), b.gpu(), bias.gpu(), start.gpu()));
  gemm(oracle, chain(c.oracle(), x.oracle(), weight.oracle(), low.oracle(), b.oracle(), bias.oracle(), start.oracle()));
  c.compare(check, "c", 2e-2, 1e-2);
}

void loras_four(const Cuda& cuda, Check& check) {
  constexpr std::int64_t kTokens = 11, kRank = 4, kIn = 10, kOut = 6;
  Twin<Bf16> x(cuda, kTokens * kIn, 1), a(cuda, kRank * kIn, 2), low(cuda, kTokens * kRank), dy(cuda, kTokens * kOut, 3),
      b(cuda, kOut * kRank, 4), d_low(cuda, kTokens * kRank);
  Twin<float> of_a(cuda, kRank * kIn, 5), of_b(cuda, kOut * kRank, 6);
  const Lora in{kTokens, kRank, kIn}, out{kTokens, kRank, kOut};
  const Bf16* const as[] = {a.gpu()};
  Bf16* const lows[] = {low.gpu()};
  const double* const oracle_as[] = {a.oracle()};
  double* const oracle_lows[] = {low.oracle()};
  lora_a_forward(cuda, in, x.gpu(), as, 0.5f, lows);
  lora_a_forward(oracle, in, x.oracle(), oracle_as, 0.5, oracle_lows);
  low.compare(check, "low", 1e-5, 1e-2);
  lora_b_backward(cuda, out, dy.gpu(), b.gpu(), 2, d_low.gpu());
  lora_b_backward(oracle, out, dy.oracle(), b.oracle(), 2, d_low.oracle());
  d_low.compare(check, "d_low", 1e-5, 1e-2);
  lora_a_gradient(cuda, in, d_low.gpu(), x.gpu(), of_a.gpu());
  lora_a_gradient(oracle, in, d_low.oracle(), x.oracle(), of_a.oracle());
  of_a.compare(check, "A's gradient", 4e-2, 1e-2);  // of a rounded d_low
  lora_b_gradient(cuda, out, low.gpu(), dy.gpu(), of_b.gpu());
  lora_b_gradient(oracle, out, low.oracle(), dy.oracle(), of_b.oracle());
  of_b.compare(check, "B's gradient", 4e-2, 1e-2);
}

struct Head {
  std::int64_t rows, hidden, vocabulary;
};

void head_loss_of(const Cuda& cuda, Check& check, const Head& head) {
  const HeadLoss shape{head.rows, head.hidden, head.vocabulary};
  Twin<Bf16> hidden(cuda, head.rows * head.hidden, 1, 2), weight(cuda, head.vocabulary * head.hidden, 2, 2),
      d_hidden(cuda, head.rows * head.hidden);
  Twin<float> d_weight(cuda, head.vocabulary * head.hidden), state(cuda, head.rows * kHeadLossState);
  std::vector<std::int32_t> ids;
  for (std::int64_t row = 0; row < head.rows; ++row)
    ids.push_back(static_cast<std::int32_t>((row * 7919 + 1) % head.vocabulary));
  const Numbers<std::int32_t> targets(cuda, ids);
  const LossSums got = head_loss(cuda, shape, hidden.gpu(), weight.gpu(), targets.gpu(), 0.5, d_hidden.gpu(), d_weight.gpu(), state.gpu());
  const LossSums expected = head_loss(oracle, shape, hidden.oracle(), weight.oracle(), targets.oracle(), 0.5, d_hidden.oracle(),
                                      d_weight.oracle(), state.oracle());
  check.near("loss", got.loss, expected.loss, 0, 1e-5);
  check.holds(got.supervised == head.rows, "every row counts");
  check.holds(got.correct == expected.correct, "as many are right as the oracle's");
  d_hidden.compare(check, "d_hidden", 1e-2, 1e-2);
  d_weight.compare(check, "d_weight", 1e-2, 1e-2);
}

void head_loss_whole(const Cuda& cuda, Check& check) {
  for (const Head& head : {Head{1, 4, 2}, Head{5, 8, 37}, Head{9, 3, 1000}}) head_loss_of(cuda, check, head);
}

/// More rows than the scratch has room for: 26 at a time.
void head_loss_in_chunks(const Cuda& cuda, Check& check) { head_loss_of(cuda, check, {30, 1, 2'500'000}); }

void lowest_of_equal_logits(const Cuda& cuda, Check& check) {
  const HeadLoss shape{1, 1, 300};
  Twin<Bf16> hidden(cuda, 1, 1), weight(cuda, 300);  // all zero
  Twin<float> state(cuda, kHeadLossState);
  for (const std::int32_t target : {0, 299}) {
    const Numbers<std::int32_t> targets(cuda, {target});
    const LossSums sums = head_loss(cuda, shape, hidden.gpu(), weight.gpu(), targets.gpu(), 1, nullptr, nullptr, state.gpu());
    check.holds(sums.correct == (target == 0 ? 1 : 0), "the lowest of equal logits counts");
  }
}

}  // namespace
}  // namespace finetuned::kernels

namespace finetuned::kernel_cases {

void add_product_cases(std::vector<Case>& cases) {
  using namespace kernels;
  cases.push_back({"gemm chain", chain_with_bias_and_start});
  cases.push_back({"lora", loras_four});
  cases.push_back({"head loss", head_loss_whole});
  cases.push_back({"head loss in chunks", head_loss_in_chunks});
  cases.push_back({"head loss, equal logits", lowest_of_equal_logits});
}

}  // namespace finetuned::kernel_cases
