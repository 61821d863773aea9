#include <array>

#include "tests/unit/trainer_kernels/close.h"
#include "trainer/kernels/adamw.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/embedding.h"
#include "trainer/kernels/reduce.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/swiglu.h"

namespace finetuned::kernels {
namespace {

const tensor::Reference kOracle;

TEST(RmsNorm, IsTheOraclesForwardAndBackward) {
  on_each_cpu([&](const tensor::Cpu& cpu) {
    for (const auto& [rows, size] : {std::array<std::int64_t, 2>{1, 1}, {5, 7}, {300, 96}, {33, 130}}) {
      const RmsNorm shape{rows, size, 1e-5};
      const Numbers x(rows * size, 1, 3), weight(size, 2), dy(rows * size, 3);
      Numbers y(rows * size, 4), rstd(rows, 5), dx(rows * size, 6), d_weight(size, 7);
      rmsnorm(cpu, shape, x.single.data(), weight.single.data(), y.single.data(), rstd.single.data());
      rmsnorm(kOracle, shape, x.exact.data(), weight.exact.data(), y.exact.data(), rstd.exact.data());
      expect_close(y.single, y.exact, "y");
      expect_close(rstd.single, rstd.exact, "rstd");
      for (const bool add : {true, false}) {
        rmsnorm_backward(cpu, shape, dy.single.data(), x.single.data(), weight.single.data(),
                         rstd.single.data(), add, dx.single.data(), d_weight.single.data());
        rmsnorm_backward(kOracle, shape, dy.exact.data(), x.exact.data(), weight.exact.data(),
                         rstd.exact.data(), add, dx.exact.data(), d_weight.exact.data());
        expect_close(dx.single, dx.exact, "dx");
        expect_close(d_weight.single, d_weight.exact, "d_weight");
      }
    }
  });
}

TEST(RmsNorm, HasTheGradientsOfFiniteDifferences) {
  const RmsNorm shape{4, 9, 1e-2};
  Numbers x(36, 1), weight(9, 2), dy(36, 3), dx(36, 4), d_weight(9, 5, 0);
  std::vector<double> y(36), rstd(4);
  const auto value = [&] {
    rmsnorm(kOracle, shape, x.exact.data(), weight.exact.data(), y.data(), rstd.data());
    return dot_of(y, dy.exact);
  };
  value();
  rmsnorm_backward(kOracle, shape, dy.exact.data(), x.exact.data(), weight.exact.data(), rstd.data(), false,
                   dx.exact.data(), d_weight.exact.data());
  const Numbers u(36, 7), w(9, 8);
  expect_slope(slope_along(x.exact, u.exact, value), dot_of(dx.exact, u.exact));
  expect_slope(slope_along(weight.exact, w.exact, value), dot_of(d_weight.exact, w.exact));
}

TEST(Swiglu, IsTheOraclesForwardAndBackward) {
  on_each_cpu([&](const tensor::Cpu& cpu) {
    const std::int64_t count = 40003;
    const Numbers d_out(count, 3);
    Numbers gate(count, 1, 12), up(count, 2), out(count, 4);
    swiglu(cpu, gate.single.data(), up.single.data(), count, out.single.data());
    swiglu(kOracle, gate.exact.data(), up.exact.data(), count, out.exact.data());
    expect_close(out.single, out.exact, "out");
    swiglu_backward(cpu, d_out.single.data(), gate.single.data(), up.single.data(), count);
    swiglu_backward(kOracle, d_out.exact.data(), gate.exact.data(), up.exact.data(), count);
    expect_close(gate.single, gate.exact, "d_gate");
    expect_close(up.single, up.exact, "d_up");
  });
}

TEST(Swiglu, HasTheGradientsOfFiniteDifferences) {
  Numbers gate(20, 1, 3), up(20, 2), d_out(20, 3);
  std::vector<double> out(20), d_gate = gate.exact, d_up = up.exact;
  const auto value = [&] {
    swiglu(kOracle, gate.exact.data(), up.exact.data(), 20, out.data());
    return dot_of(out, d_out.exact);
  };
  swiglu_backward(kOracle, d_out.exact.data(), d_gate.data(), d_up.data(), 20);
  const Numbers u(20, 7);
  expect_slope(slope_along(gate.exact, u.exact, value), dot_of(d_gate, u.exact));
  expect_slope(slope_along(up.exact, u.exact, value), dot_of(d_up, u.exact));
}

TEST(Swiglu, HoldsAtTheEndsOfTheRange) {
  on_each_cpu([&](const tensor::Cpu& cpu) {
    const std::vector<float> gate{-1e4f, -100, -88, 0, 88, 100, 1e4f}, up(7, 2);
    std::vector<float> out(7);
    swiglu(cpu, gate.data(), up.data(), 7, out.data());
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_NEAR(out[i], 0, 1e-6);
    for (std::size_t i = 3; i < 7; ++i)
      EXPECT_FLOAT_EQ(out[i], 2 * gate[i]);
  });
}

formats::ModelConfig rotary(std::int64_t head_dim) {
  formats::ModelConfig config;
  config.head_dim = head_dim;
  config.rope_theta = 10000;
  return config;
}

TEST(Rope, TurnsAsTheOracleAndBack) {
  const auto tables = rope_tables(rotary(10), 50);
  const std::vector<float> c(tables.cosines.begin(), tables.cosines.end()),
      s(tables.sines.begin(), tables.sines.end());
  std::vector<std::int32_t> positions;
  for (int i = 0; i < 70; ++i)
    positions.push_back(i % 50);
  on_each_cpu([&](const tensor::Cpu& cpu) {
    Numbers x(70 * 3 * 10, 1);
    const auto start = x.exact;
    rope(cpu, {70, 3, 10, false}, c.data(), s.data(), positions.data(), x.single.data());
    rope(kOracle, {70, 3, 10, false}, tables.cosines.data(), tables.sines.data(), positions.data(),
         x.exact.data());
    expect_close(x.single, x.exact, "turned");
    rope(cpu, {70, 3, 10, true}, c.data(), s.data(), positions.data(), x.single.data());
    expect_close(x.single, start, "turned back");
  });
}

TEST(Rope, ScalesAsTheConfigSays) {
  auto config = rotary(8);  // frequencies 1, 0.1, 0.01, 0.001
  const auto angle = [&](std::size_t i) {
    const auto tables = rope_tables(config, 2);
    return std::atan2(tables.sines[4 + i], tables.cosines[4 + i]);
  };
  EXPECT_NEAR(angle(1), 0.1, 1e-12);
  auto& scaling = config.rope_scaling;
  scaling.kind = formats::RopeScaling::Kind::kLinear;
  scaling.factor = 4;
  EXPECT_NEAR(angle(0), 0.25, 1e-12);
  scaling.kind = formats::RopeScaling::Kind::kLlama3;
  scaling.original_max_position_embeddings = 512;  // wavelengths 6.3, 63, 628, 6283 against 128 and 512
  EXPECT_NEAR(angle(0), 1, 1e-12);
  EXPECT_NEAR(angle(1), 0.1, 1e-12);
  EXPECT_NEAR(angle(2), 0.01 / 4, 1e-12);
  scaling.low_freq_factor = 0.5;  // now 628 lies between 128 and 1024
  const double smooth = (512 / (200 * M_PI) - 0.5) / 3.5;
  EXPECT_NEAR(angle(2), (1 - smooth) * 0.01 / 4 + smooth * 0.01, 1e-12);
  scaling.kind = formats::RopeScaling::Kind::kYarn;
  const auto tables = rope_tables(config, 2);
  const double amplitude = 0.1 * std::log(4.0) + 1;
  EXPECT_NEAR(std::hypot(tables.sines[4], tables.cosines[4]), amplitude, 1e-12);
  // Dimensions of 32 and 1 turns in 512 positions: 8 ln(512 / 2 pi 32) / 2 ln 10000 = 0.4 and 1.9: floor 0,
  // ceil 2.
  EXPECT_NEAR(angle(0), 1, 1e-12);
  EXPECT_NEAR(angle(1), 0.1 / 4 * 0.5 + 0.1 * 0.5, 1e-12);
  EXPECT_NEAR(angle(2), 0.01 / 4, 1e-12);
}

TEST(Embedding, GathersAndAddsBackInOrder) {
  const std::vector<std::int32_t> ids{3, 0, 3, 3, 1};
  on_each_cpu([&](const tensor::Cpu& cpu) {
    const Numbers table(4 * 100, 1);
    Numbers out(500, 2), gradient(400, 3);
    gather_rows(cpu, table.single.data(), ids.data(), 5, 100, out.single.data());
    gather_rows(kOracle, table.exact.data(), ids.data(), 5, 100, out.exact.data());
    expect_close(out.single, out.exact, "rows");
    scatter_add_rows(cpu, out.single.data(), ids.data(), 5, 100, gradient.single.data());
    scatter_add_rows(kOracle, out.exact.data(), ids.data(), 5, 100, gradient.exact.data());
    expect_close(gradient.single, gradient.exact, "gradient");
  });
}

TEST(AdamW, IsTheOracles) {
  on_each_cpu([&](const tensor::Cpu& cpu) {
    Numbers value(20001, 1), gradient(20001, 2), first(20001, 3, 0), second(20001, 4, 0);
    AdamW settings;
    settings.learning_rate = 1e-2;
    settings.weight_decay = 0.1;
    for (std::int64_t step = 1; step <= 4; ++step) {
      adamw(cpu, settings, step, 0.7, value.single.data(), gradient.single.data(), first.single.data(),
            second.single.data(), 20001);
      adamw(kOracle, settings, step, 0.7, value.exact.data(), gradient.exact.data(), first.exact.data(),
            second.exact.data(), 20001);
      expect_close(value.single, value.exact, "value");
      expect_close(second.single, second.exact, "second moment");
    }
  });
}

TEST(Reduce, SumsAreTheOracles) {
  on_each_cpu([&](const tensor::Cpu& cpu) {
    const Numbers x(200003, 1);
    const double exact = square_sum(kOracle, x.exact.data(), 200003);
    EXPECT_NEAR(square_sum(cpu, x.single.data(), 200003), exact, 1e-12 * exact);
    Numbers to(150, 2);
    add_column_sums(cpu, x.single.data(), 70, 150, to.single.data());
    add_column_sums(kOracle, x.exact.data(), 70, 150, to.exact.data());
    expect_close(to.single, to.exact, "columns");
  });
}

TEST(Dropout, KeepsTheShareAndKnowsOnlyRowAndPosition) {
  const tensor::Cpu cpu(2);
  const std::int64_t size = 501;
  const std::vector<std::int32_t> positions{0, 1, 2, 0};
  const std::vector<std::uint64_t> keys{5, 5, 5, 9};
  std::vector<float> x(4 * size, 1.0f), out(x.size()), last(static_cast<std::size_t>(size));
  dropout(cpu, {0.25, 77, 4, size, positions.data(), keys.data()}, x.data(), false, out.data());
  const auto kept = std::count_if(out.begin(), out.end(), [](float value) { return value != 0; });
  EXPECT_NEAR(static_cast<double>(kept), 0.75 * 4 * size, 80);
  for (const float value : out)
    EXPECT_TRUE(value == 0 || value == static_cast<float>(1 / 0.75));
  dropout(cpu, {0.25, 77, 1, size, positions.data() + 2, keys.data() + 2}, x.data(), false, last.data());
  EXPECT_TRUE(std::equal(last.begin(), last.end(), out.begin() + 2 * size));
  EXPECT_FALSE(std::equal(out.begin(), out.begin() + size, out.begin() + 3 * size));
}

}  // namespace
}  // namespace finetuned::kernels
