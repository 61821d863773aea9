#include <array>

#include "tests/unit/trainer_kernels/close.h"
#include "trainer/kernels/cross_entropy.h"

namespace finetuned::kernels {
namespace {

struct HeadCase {
  HeadLoss shape;
  Numbers hidden, weight;
  std::vector<std::int32_t> targets;
  HeadCase(std::int64_t rows, std::int64_t size, std::int64_t vocabulary, double spread)
      : shape{rows, size, vocabulary}, hidden(rows * size, 1, 2), weight(vocabulary * size, 2, spread) {
    for (std::int64_t i = 0; i < rows; ++i)
      targets.push_back(static_cast<std::int32_t>(random_bits(9, static_cast<std::uint64_t>(i)) %
                                                  static_cast<std::uint64_t>(vocabulary)));
  }
};

TEST(HeadLoss, IsTheOraclesWithItsGradients) {
  on_each_cpu([&](const tensor::Cpu& cpu) {
    for (const auto& [rows, size, vocabulary] : {std::array<std::int64_t, 3>{1, 4, 3},
                                                 {7, 24, 37},
                                                 {300, 40, 1500},
                                                 {49, 33, 481},
                                                 {3, kMostHeadHidden, 100}}) {
      const HeadCase s(rows, size, vocabulary, size > 1000 ? 0.02 : 0.7);
      std::vector<float> state(static_cast<std::size_t>(rows * kHeadLossState)),
          d_hidden(s.hidden.single.size(), NAN);
      Numbers d_weight(vocabulary * size, 5, 0.01);
      std::vector<double> d_hidden_exact(d_hidden.size());
      const auto sums =
          head_loss(cpu, s.shape, s.hidden.single.data(), s.weight.single.data(), s.targets.data(), 0.1,
                    d_hidden.data(), d_weight.single.data(), state.data());
      const auto oracle =
          head_loss(tensor::Reference(), s.shape, s.hidden.exact.data(), s.weight.exact.data(),
                    s.targets.data(), 0.1, d_hidden_exact.data(), d_weight.exact.data(), nullptr);
      EXPECT_NEAR(sums.loss, oracle.loss, 2e-6 * oracle.loss);
      EXPECT_EQ(sums.supervised, rows);
      EXPECT_EQ(sums.correct, oracle.correct);
      expect_close(d_hidden, d_hidden_exact, "d_hidden");
      expect_close(d_weight.single, d_weight.exact, "d_weight");
      const auto again = head_loss(cpu, s.shape, s.hidden.single.data(), s.weight.single.data(),
                                   s.targets.data(), 0.1, nullptr, nullptr, state.data());
      EXPECT_EQ(again.loss, sums.loss);
    }
  });
}

/// With many rows a thread packs for itself, with few the threads pack together, and a row may stand alone.
TEST(HeadLoss, GivesARowTheSameBitsInEitherWay) {
  const std::int64_t size = 50, vocabulary = 1000;
  const HeadCase s(400, size, vocabulary, 0.7);
  std::vector<std::vector<float>> found;
  for (const int threads : {1, 2, 5}) {
    const tensor::Cpu cpu(threads);
    std::vector<float> state(400 * kHeadLossState), d_hidden(s.hidden.single.size());
    head_loss(cpu, s.shape, s.hidden.single.data(), s.weight.single.data(), s.targets.data(), 0.1,
              d_hidden.data(), nullptr, state.data());
    found.push_back(d_hidden);
  }
  EXPECT_EQ(found[0], found[1]);
  EXPECT_EQ(found[0], found[2]);
  const tensor::Cpu cpu(2);
  std::vector<float> state(kHeadLossState), alone(static_cast<std::size_t>(size));
  for (const std::size_t row : {0, 77, 399}) {
    head_loss(cpu, {1, size, vocabulary}, s.hidden.single.data() + row * 50, s.weight.single.data(),
              s.targets.data() + row, 0.1, alone.data(), nullptr, state.data());
    EXPECT_TRUE(
        std::equal(alone.begin(), alone.end(), found[0].begin() + static_cast<std::ptrdiff_t>(row * 50)));
  }
}

TEST(HeadLoss, HasTheGradientsOfFiniteDifferences) {
  HeadCase s(6, 10, 17, 1);
  std::vector<double> d_hidden(s.hidden.exact.size()), d_weight(s.weight.exact.size(), 0);
  const auto value = [&] {
    return 0.3 * head_loss(tensor::Reference(), s.shape, s.hidden.exact.data(), s.weight.exact.data(),
                           s.targets.data(), 1, nullptr, nullptr, nullptr)
                     .loss;
  };
  head_loss(tensor::Reference(), s.shape, s.hidden.exact.data(), s.weight.exact.data(), s.targets.data(), 0.3,
            d_hidden.data(), d_weight.data(), nullptr);
  const Numbers u(60, 7), w(170, 8);
  expect_slope(slope_along(s.hidden.exact, u.exact, value), dot_of(d_hidden, u.exact));
  expect_slope(slope_along(s.weight.exact, w.exact, value), dot_of(d_weight, w.exact));
}

TEST(HeadLoss, HoldsForLogitsFarApart) {
  on_each_cpu([&](const tensor::Cpu& cpu) {
    const HeadCase s(5, 16, 1000, 30);  // logits of some hundreds, most of whose exponentials vanish
    std::vector<float> state(5 * kHeadLossState), d_hidden(s.hidden.single.size());
    std::vector<double> exact(d_hidden.size());
    const auto sums = head_loss(cpu, s.shape, s.hidden.single.data(), s.weight.single.data(),
                                s.targets.data(), 1, d_hidden.data(), nullptr, state.data());
    const auto oracle = head_loss(tensor::Reference(), s.shape, s.hidden.exact.data(), s.weight.exact.data(),
                                  s.targets.data(), 1, exact.data(), nullptr, nullptr);
    EXPECT_NEAR(sums.loss, oracle.loss, 1e-6 * oracle.loss);
    for (std::size_t i = 0; i < exact.size(); ++i)
      EXPECT_NEAR(d_hidden[i], exact[i], 1e-3);
  });
}

TEST(HeadLoss, ShowsNotANumber) {
  on_each_cpu([&](const tensor::Cpu& cpu) {
    HeadCase s(3, 16, 1000, 1);
    s.hidden.single[20] = NAN;
    std::vector<float> state(3 * kHeadLossState);
    const auto sums = head_loss(cpu, s.shape, s.hidden.single.data(), s.weight.single.data(),
                                s.targets.data(), 1, nullptr, nullptr, state.data());
    EXPECT_TRUE(std::isnan(sums.loss));
  });
}

}  // namespace
}  // namespace finetuned::kernels
