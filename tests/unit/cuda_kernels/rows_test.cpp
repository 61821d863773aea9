#include <gtest/gtest.h>

#include "tests/cuda_emulator/emulator.h"
#include "tests/unit/cuda_kernels/twins.h"
#include "trainer/kernels/adamw.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/embedding.h"
#include "trainer/kernels/lower.h"
#include "trainer/kernels/reduce.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/swiglu.h"

namespace finetuned::kernels {
namespace {

using tensor::Bf16;
using tensor::Cuda;
using tensor::Reference;

/// design: bfloat16 1e-5 and 1e-2, single precision 1e-6 and 5e-6.
constexpr double kBf16Absolute = 1e-5, kBf16Relative = 1e-2, kAbsolute = 1e-6, kRelative = 5e-6;

class CudaRows : public testing::TestWithParam<int> {
 protected:
  CudaRows() { cuda_emulator::set_seed(static_cast<std::uint64_t>(GetParam())); }

  Cuda cuda_;
  Reference oracle_;
};
INSTANTIATE_TEST_SUITE_P(Orders, CudaRows, testing::Values(1, 2));

struct Rows {
  std::int64_t rows, size;
};
constexpr Rows kRows[] = {{1, 1}, {1, 8}, {3, 7}, {19, 64}, {9, 96}, {5, 257}, {2, 1000}, {40, 128}};

TEST_P(CudaRows, RmsNorm) {
  for (const auto [rows, size] : kRows) {
    const std::string where = std::to_string(rows) + " rows of " + std::to_string(size);
    const RmsNorm shape{rows, size, 1e-5};
    Twin<Bf16> x(cuda_, rows * size, 1), weight(cuda_, size, 2), y(cuda_, rows * size), again(cuda_, rows * size);
    Twin<float> rstd(cuda_, rows);
    rmsnorm(cuda_, shape, x.gpu(), weight.gpu(), y.gpu(), rstd.gpu());
    rmsnorm(oracle_, shape, x.oracle(), weight.oracle(), y.oracle(), rstd.oracle());
    y.expect_equal("y of " + where, kBf16Absolute, kBf16Relative);
    rstd.expect_equal("rstd of " + where, kAbsolute, kRelative);
    rmsnorm_apply(cuda_, shape, x.gpu(), weight.gpu(), rstd.gpu(), again.gpu());
    EXPECT_EQ(again.values(), y.values()) << where;
    rmsnorm(cuda_, shape, x.gpu(), weight.gpu(), x.gpu(), rstd.gpu());
    EXPECT_EQ(x.values(), y.values()) << "in place, " << where;
  }
}

TEST_P(CudaRows, RmsNormBackward) {
  for (const auto [rows, size] : kRows) {
    for (const bool add : {false, true}) {
      const std::string where = std::to_string(rows) + " rows of " + std::to_string(size) + (add ? ", added" : "");
      const RmsNorm shape{rows, size, 1e-5};
      Twin<Bf16> x(cuda_, rows * size, 1), weight(cuda_, size, 2), y(cuda_, rows * size), dy(cuda_, rows * size, 3),
          dx(cuda_, rows * size, 4);
      Twin<float> rstd(cuda_, rows), d_weight(cuda_, size, 5);
      rmsnorm(cuda_, shape, x.gpu(), weight.gpu(), y.gpu(), rstd.gpu());
      rmsnorm(oracle_, shape, x.oracle(), weight.oracle(), y.oracle(), rstd.oracle());
      rmsnorm_backward(cuda_, shape, dy.gpu(), x.gpu(), weight.gpu(), rstd.gpu(), add, dx.gpu(), d_weight.gpu());
      rmsnorm_backward(oracle_, shape, dy.oracle(), x.oracle(), weight.oracle(), rstd.oracle(), add, dx.oracle(), d_weight.oracle());
      dx.expect_equal("dx of " + where, 2e-5 * static_cast<double>(size), kBf16Relative);  // differences cancel
      d_weight.expect_equal("d_weight of " + where, 1e-5, 1e-5);
    }
  }
}

TEST_P(CudaRows, RopeThereAndBack) {
  for (const std::int64_t head_dim : {2, 64, 96, 128}) {
    const Rope shape{5, 3, head_dim, false};
    Twin<float> cosines(cuda_, 9 * head_dim / 2, 1), sines(cuda_, 9 * head_dim / 2, 2);
    const Numbers<std::int32_t> positions(cuda_, {0, 1, 2, 8, 4});
    Twin<Bf16> x(cuda_, 5 * 3 * head_dim, 3);
    for (const bool backward : {false, true}) {
      Rope turned = shape;
      turned.backward = backward;
      rope(cuda_, turned, cosines.gpu(), sines.gpu(), positions.gpu(), x.gpu());
      rope(oracle_, turned, cosines.oracle(), sines.oracle(), positions.oracle(), x.oracle());
      x.expect_equal("head_dim " + std::to_string(head_dim), 1e-2, kBf16Relative);  // a b - c d cancels
    }
  }
}

TEST_P(CudaRows, SwiGlu) {
  for (const std::int64_t count : {1, 7, 8, 600, 4096, 70'001}) {
    Twin<Bf16> gate(cuda_, count, 1, 4), up(cuda_, count, 2), out(cuda_, count), d_out(cuda_, count, 3);
    swiglu(cuda_, gate.gpu(), up.gpu(), count, out.gpu());
    swiglu(oracle_, gate.oracle(), up.oracle(), count, out.oracle());
    out.expect_equal("out", kBf16Absolute, kBf16Relative);
    swiglu_backward(cuda_, d_out.gpu(), gate.gpu(), up.gpu(), count);
    swiglu_backward(oracle_, d_out.oracle(), gate.oracle(), up.oracle(), count);
    gate.expect_equal("gate's gradient", kBf16Absolute, kBf16Relative);
    up.expect_equal("up's gradient", kBf16Absolute, kBf16Relative);
  }
}

TEST_P(CudaRows, MovesRows) {
  for (const std::int64_t size : {1, 8, 13, 160}) {
    const Numbers<std::int32_t> ids(cuda_, {4, 0, 6, 3});
    Twin<Bf16> table(cuda_, 7 * size, 1), out(cuda_, 4 * size), from(cuda_, 4 * size, 2);
    gather_rows(cuda_, table.gpu(), ids.gpu(), 4, size, out.gpu());
    gather_rows(oracle_, table.oracle(), ids.oracle(), 4, size, out.oracle());
    out.expect_equal("gathered", 0, 0);
    scatter_rows(cuda_, from.gpu(), ids.gpu(), 4, size, table.gpu());
    scatter_rows(oracle_, from.oracle(), ids.oracle(), 4, size, table.oracle());
    table.expect_equal("scattered", 0, 0);
    const Numbers<std::int32_t> twice(cuda_, {4, 4, 0, 4});
    Twin<float> sums(cuda_, 7 * size, 3);
    scatter_add_rows(cuda_, from.gpu(), twice.gpu(), 4, size, sums.gpu());
    scatter_add_rows(oracle_, from.oracle(), twice.oracle(), 4, size, sums.oracle());
    sums.expect_equal("added", kAbsolute, kRelative);
  }
}

TEST_P(CudaRows, AdamW) {
  const kernels::AdamW settings{.learning_rate = 1e-2, .weight_decay = 0.1};
  for (const std::int64_t count : {1, 255, 1000}) {
    Twin<float> value(cuda_, count, 1), gradient(cuda_, count, 2), first(cuda_, count), second(cuda_, count);
    for (int step = 1; step <= 3; ++step) {
      adamw(cuda_, settings, step, 0.5, value.gpu(), gradient.gpu(), first.gpu(), second.gpu(), count);
      adamw(oracle_, settings, step, 0.5, value.oracle(), gradient.oracle(), first.oracle(), second.oracle(), count);
    }
    value.expect_equal("value", kAbsolute, kRelative);
    first.expect_equal("first moment", kAbsolute, kRelative);
    second.expect_equal("second moment", kAbsolute, kRelative);
  }
}

TEST_P(CudaRows, DropoutDropsWhatTheOracleDrops) {
  for (const std::int64_t size : {1, 7, 64}) {
    const Numbers<std::int32_t> positions(cuda_, {0, 1, 5});
    const Numbers<std::uint64_t> keys(cuda_, {7, 7, 9});
    Dropout shape{0.25, 11, 3, size, positions.gpu(), keys.gpu()}, oracle_shape = shape;
    oracle_shape.positions = positions.oracle();
    oracle_shape.token_keys = keys.oracle();
    Twin<Bf16> x(cuda_, 3 * size, 1), out(cuda_, 3 * size, 2);
    for (const bool add : {true, false}) {
      dropout(cuda_, shape, x.gpu(), add, out.gpu());
      dropout(oracle_, oracle_shape, x.oracle(), add, out.oracle());
      out.expect_equal(add ? "added" : "written", 8e-3, kBf16Relative);
    }
  }
}

TEST_P(CudaRows, Sums) {
  for (const std::int64_t count : {1, 1000, 200'000}) {
    Twin<float> values(cuda_, count, 1);
    const double expected = square_sum(oracle_, values.oracle(), count), got = square_sum(cuda_, values.gpu(), count);
    EXPECT_NEAR(got, expected, 1e-12 * expected);
  }
  EXPECT_EQ(square_sum(cuda_, nullptr, 0), 0);
  for (const auto [rows, size] : kRows) {
    Twin<Bf16> from(cuda_, rows * size, 1);
    Twin<float> to(cuda_, size, 2);
    add_column_sums(cuda_, from.gpu(), rows, size, to.gpu());
    add_column_sums(oracle_, from.oracle(), rows, size, to.oracle());
    to.expect_equal("column sums", 1e-5, 1e-5);
  }
}

TEST_P(CudaRows, LowersToTheNearest) {
  Twin<float> values(cuda_, 1000, 1);
  Twin<Bf16> out(cuda_, 1000), expected(cuda_, 1000);
  lower(cuda_, values.gpu(), 1000, out.gpu());
  const std::vector<double> wide = values.values();
  const std::vector<float> single(wide.begin(), wide.end());
  cuda_.copy_in(expected.gpu(), single.data(), 1000);
  EXPECT_EQ(out.values(), expected.values());
}

}  // namespace
}  // namespace finetuned::kernels
