#include "trainer/kernels/gemm.h"

#include <cstring>

#include "tests/unit/trainer_kernels/close.h"

namespace finetuned::kernels {
namespace {

struct Case {
  std::int64_t m, n, k, k2;
  bool left_transposed, right_transposed, accumulate, bias;
};

template <class Real>
Gemm<Real> product(const Case& c, const Real* left, const Real* right, const Real* low, const Real* high,
                   const Real* bias, Real* to) {
  Gemm<Real> g;
  g.m = c.m;
  g.n = c.n;
  g.products[0] = {c.left_transposed ? Left<Real>{left, 1, c.m} : Left<Real>{left, c.k, 1},
                   c.right_transposed ? Right<Real>{right, c.k, true} : Right<Real>{right, c.n, false}, c.k};
  g.products[1] = {{low, c.k2, 1}, {high, c.k2, true}, c.k2};
  g.c = to;
  g.c_stride = c.n;
  if (c.accumulate) g.start = to;
  g.alpha = Real(0.3f);
  g.bias = c.bias ? bias : nullptr;
  return g;
}

TEST(Gemm, IsTheOraclesInEveryForm) {
  std::vector<Case> cases;
  for (const std::int64_t m : {1, 5, 8, 13, 97})
    for (const std::int64_t n : {1, 3, 8, 16, 31, 48, 100})
      for (const int form : {0, 1, 2, 3, 4, 5}) {
        cases.push_back({m, n, 1 + (m * 7 + n) % 40, form % 2 ? 0 : 1 + n % 9, form >= 4, form % 3 != 0,
                         form % 2 == 0, form > 2});
      }
  cases.push_back({200, 300, 288, 8, false, true, true, false});
  cases.push_back({8, 300, 500, 0, true, false, true, false});
  on_each_cpu([&](const tensor::Cpu& cpu) {
    for (const Case& c : cases) {
      const Numbers left(c.m * c.k, 1), right(c.k * c.n, 2), low(c.m * c.k2, 3), high(c.n * c.k2, 4),
          bias(c.n, 5);
      Numbers to(c.m * c.n, 6);
      gemm(cpu, product(c, left.single.data(), right.single.data(), low.single.data(), high.single.data(),
                        bias.single.data(), to.single.data()));
      gemm(tensor::Reference(), product(c, left.exact.data(), right.exact.data(), low.exact.data(),
                                        high.exact.data(), bias.exact.data(), to.exact.data()));
      expect_close(to.single, to.exact,
                   "m " + std::to_string(c.m) + " n " + std::to_string(c.n) + " k " + std::to_string(c.k));
    }
  });
}

/// Up to six products in one chain, the result on top of another matrix: how gradients of one input meet.
TEST(Gemm, AddsUpSeveralProductsOnTopOfAnotherMatrix) {
  on_each_cpu([&](const tensor::Cpu& cpu) {
    for (const std::int64_t m : {3, 70})
      for (const bool transposed : {false, true}) {
        const std::int64_t n = 112;
        const Numbers left(m * 600, 1), right(n * 600, 2), from(m * n, 3);
        std::vector<float> ours(static_cast<std::size_t>(m * n));
        std::vector<double> oracle(ours.size());
        Gemm<float> g;
        Gemm<double> exact;
        g.m = exact.m = m;
        g.n = exact.n = n;
        std::int64_t at = 0;
        for (std::size_t p = 0; p < kMostProducts; ++p) {
          const std::int64_t k = p % 2 ? 8 : 50 + static_cast<std::int64_t>(p);
          g.products[p] = {{left.single.data() + at * m, k, 1},
                           {right.single.data() + at * n, transposed ? k : n, transposed},
                           k};
          exact.products[p] = {{left.exact.data() + at * m, k, 1},
                               {right.exact.data() + at * n, transposed ? k : n, transposed},
                               k};
          at += k;
        }
        g.c = ours.data();
        exact.c = oracle.data();
        g.c_stride = exact.c_stride = n;
        g.start = from.single.data();
        exact.start = from.exact.data();
        gemm(cpu, g);
        gemm(tensor::Reference(), exact);
        expect_close(ours, oracle, "products");
      }
  });
}

/// A group's members are what each is alone, empty ones among them.
TEST(Gemm, DoesAGroupSideBySide) {
  const std::int64_t k = 40;
  const Numbers left(100 * k, 1), right(300 * k, 2);
  on_each_cpu([&](const tensor::Cpu& cpu) {
    std::vector<Gemm<float>> group;
    std::vector<std::vector<float>> together, alone;
    for (const auto& [m, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {100, 300}, {0, 10}, {5, 17}, {100, 48}, {7, 0}}) {
      Gemm<float> g = product<float>({m, n, k, 0, false, true, false, false}, left.single.data(),
                                     right.single.data(), nullptr, nullptr, nullptr, nullptr);
      together.emplace_back(static_cast<std::size_t>(m * n));
      alone.emplace_back(together.back().size());
      g.c = alone.back().data();
      gemm(cpu, g);
      group.push_back(g);
    }
    for (std::size_t i = 0; i < group.size(); ++i)
      group[i].c = together[i].data();
    gemm(cpu, std::span<const Gemm<float>>(group));
    EXPECT_EQ(together, alone);
  });
}

TEST(Gemm, OfAWeightLargerThanAnyCacheIsDoneInColumns) {
  const std::int64_t m = 3, n = 700, k = 8000;  // 700 x 8000 floats are 22 MB
  const Numbers left(m * k, 1, 0.1), right(n * k, 2, 0.1);
  std::vector<double> oracle(static_cast<std::size_t>(m * n));
  const Case c{m, n, k, 0, false, true, false, false};
  auto exact =
      product<double>(c, left.exact.data(), right.exact.data(), nullptr, nullptr, nullptr, oracle.data());
  gemm(tensor::Reference(), exact);
  const tensor::Cpu cpu(2);
  std::vector<float> ours(oracle.size());
  gemm(cpu,
       product<float>(c, left.single.data(), right.single.data(), nullptr, nullptr, nullptr, ours.data()));
  expect_close(ours, oracle, "columns");
}

/// It aborted the gradient of a row of 100,000 tokens, whose depth is the tokens.
TEST(Gemm, DeeperThanAThreadsScratchIsASumOfParts) {
  const std::int64_t m = 2, n = 51, k = 140000, k2 = 5;
  const Numbers left(m * k, 1, 0.01), right(k * n, 2, 0.01), low(m * k2, 3), high(n * k2, 4), bias(n, 5);
  on_each_cpu([&](const tensor::Cpu& cpu) {
    for (const bool transposed : {false, true}) {
      const Case c{m, n, k, k2, transposed, transposed, transposed, true};
      Numbers to(m * n, 6);
      gemm(cpu, product(c, left.single.data(), right.single.data(), low.single.data(), high.single.data(),
                        bias.single.data(), to.single.data()));
      gemm(tensor::Reference(), product(c, left.exact.data(), right.exact.data(), low.exact.data(),
                                        high.exact.data(), bias.exact.data(), to.exact.data()));
      expect_close(to.single, to.exact, "depth");
    }
  });
}

/// A row of the product has the same bits in a batch of any size, at any place.
TEST(Gemm, GivesARowTheSameBitsInAnyBatch) {
  const std::int64_t n = 100, k = 77;
  const Numbers left(120 * k, 1), right(n * k, 2);
  on_each_cpu([&](const tensor::Cpu& cpu) {
    std::vector<float> whole(120 * n), alone(n);
    gemm(cpu, product<float>({120, n, k, 0, false, true, false, false}, left.single.data(),
                             right.single.data(), nullptr, nullptr, nullptr, whole.data()));
    for (const std::int64_t few : {1, 3, 8, 20})  // the first three by the way of few rows
      for (std::int64_t row = 0; row + few <= 120; row += few) {
        alone.resize(static_cast<std::size_t>(few * n));
        gemm(cpu, product<float>({few, n, k, 0, false, true, false, false}, left.single.data() + row * k,
                                 right.single.data(), nullptr, nullptr, nullptr, alone.data()));
        ASSERT_EQ(std::memcmp(alone.data(), whole.data() + row * n, alone.size() * sizeof(float)), 0)
            << few << " rows from " << row;
      }
  });
}

}  // namespace
}  // namespace finetuned::kernels
