#include <gtest/gtest.h>

#include "tests/cuda_emulator/emulator.h"
#include "tests/unit/cuda_kernels/twins.h"
#include "trainer/kernels/cross_entropy.h"
#include "trainer/kernels/gemm.h"
#include "trainer/kernels/lora.h"

namespace finetuned::kernels {
namespace {

using tensor::Bf16;
using tensor::Cuda;
using tensor::Reference;

class CudaProducts : public testing::Test {
 protected:
  Cuda cuda_;
  Reference oracle_;
};

TEST_F(CudaProducts, AChainWithBiasAndStart) {
  constexpr std::int64_t kM = 5, kN = 7, kK = 9, kRank = 3;
  Twin<Bf16> x(cuda_, kM * kK, 1), weight(cuda_, kN * kK, 2), low(cuda_, kM * kRank, 3), b(cuda_, kN * kRank, 4), bias(cuda_, kN, 5),
      start(cuda_, kM * kN, 6), c(cuda_, kM * kN);
  const auto chain = [&](auto* c_at, auto* x_at, auto* weight_at, auto* low_at, auto* b_at, auto* bias_at, auto* start_at) {
    Gemm<std::remove_reference_t<decltype(*c_at)>> g;
    g.m = kM, g.n = kN;
    g.products[0] = {{x_at, kK, 1}, {weight_at, kK, true}, kK};
    g.products[1] = {{low_at, kRank, 1}, {b_at, kRank, true}, kRank};
    g.c = c_at, g.c_stride = kN, g.start = start_at, g.bias = bias_at;
    return g;
  };
  gemm(cuda_, chain(c.gpu(), x.gpu(), weight.gpu(), low.gpu(), b.gpu(), bias.gpu(), start.gpu()));
  gemm(oracle_, chain(c.oracle(), x.oracle(), weight.oracle(), low.oracle(), b.oracle(), bias.oracle(), start.oracle()));
  c.expect_equal("c", 2e-2, 1e-2);
}

TEST_F(CudaProducts, LorasFour) {
  constexpr std::int64_t kTokens = 11, kRank = 4, kIn = 10, kOut = 6;
  Twin<Bf16> x(cuda_, kTokens * kIn, 1), a(cuda_, kRank * kIn, 2), low(cuda_, kTokens * kRank), dy(cuda_, kTokens * kOut, 3),
      b(cuda_, kOut * kRank, 4), d_low(cuda_, kTokens * kRank);
  Twin<float> of_a(cuda_, kRank * kIn, 5), of_b(cuda_, kOut * kRank, 6);
  const Lora in{kTokens, kRank, kIn}, out{kTokens, kRank, kOut};
  const Bf16* const as[] = {a.gpu()};
  Bf16* const lows[] = {low.gpu()};
  const double* const oracle_as[] = {a.oracle()};
  double* const oracle_lows[] = {low.oracle()};
  lora_a_forward(cuda_, in, x.gpu(), as, 0.5f, lows);
  lora_a_forward(oracle_, in, x.oracle(), oracle_as, 0.5, oracle_lows);
  low.expect_equal("low", 1e-5, 1e-2);
  lora_b_backward(cuda_, out, dy.gpu(), b.gpu(), 2, d_low.gpu());
  lora_b_backward(oracle_, out, dy.oracle(), b.oracle(), 2, d_low.oracle());
  d_low.expect_equal("d_low", 1e-5, 1e-2);
  lora_a_gradient(cuda_, in, d_low.gpu(), x.gpu(), of_a.gpu());
  lora_a_gradient(oracle_, in, d_low.oracle(), x.oracle(), of_a.oracle());
  of_a.expect_equal("A's gradient", 4e-2, 1e-2);  // of a rounded d_low
  lora_b_gradient(cuda_, out, low.gpu(), dy.gpu(), of_b.gpu());
  lora_b_gradient(oracle_, out, low.oracle(), dy.oracle(), of_b.oracle());
  of_b.expect_equal("B's gradient", 4e-2, 1e-2);
}

struct Head {
  std::int64_t rows, hidden, vocabulary;
};

void expect_head_loss(const Cuda& cuda, const Reference& oracle, const Head& head) {
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
  EXPECT_NEAR(got.loss, expected.loss, 1e-5 * expected.loss);
  EXPECT_EQ(got.supervised, head.rows);
  EXPECT_EQ(got.correct, expected.correct);
  d_hidden.expect_equal("d_hidden", 1e-2, 1e-2);
  d_weight.expect_equal("d_weight", 1e-2, 1e-2);
}

TEST_F(CudaProducts, HeadLoss) {
  for (const Head& head : {Head{1, 4, 2}, Head{5, 8, 37}, Head{9, 3, 1000}}) expect_head_loss(cuda_, oracle_, head);
}

/// More rows than the scratch has room for: 26 at a time.
TEST_F(CudaProducts, HeadLossInChunks) { expect_head_loss(cuda_, oracle_, {30, 1, 2'500'000}); }

TEST_F(CudaProducts, TheLowestOfEqualLogitsCounts) {
  const HeadLoss shape{1, 1, 300};
  Twin<Bf16> hidden(cuda_, 1, 1), weight(cuda_, 300);  // all zero
  Twin<float> state(cuda_, kHeadLossState);
  for (const std::int32_t target : {0, 299}) {
    const Numbers<std::int32_t> targets(cuda_, {target});
    EXPECT_EQ(head_loss(cuda_, shape, hidden.gpu(), weight.gpu(), targets.gpu(), 1, nullptr, nullptr, state.gpu()).correct,
              target == 0 ? 1 : 0);
  }
}

}  // namespace
}  // namespace finetuned::kernels
