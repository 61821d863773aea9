#include "tests/kernel_cases/twins.h"
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

using kernel_cases::Check;
using tensor::Bf16;
using tensor::Cuda;
using tensor::Reference;

/// design: bfloat16 1e-5 and 1e-2, single precision 1e-6 and 5e-6.
constexpr double kBf16Absolute = 1e-5, kBf16Relative = 1e-2, kAbsolute = 1e-6, kRelative = 5e-6;

const Reference oracle;

struct Rows {
  std::int64_t rows, size;
};
constexpr Rows kRows[] = {{1, 1}, {1, 8}, {3, 7}, {19, 64}, {9, 96}, {5, 257}, {2, 1000}, {40, 128}};

void rms_norm(const Cuda& cuda, Check& check) {
  for (const auto [rows, size] : kRows) {
    const std::string where = std::to_string(rows) + " rows of " + std::to_string(size);
    const RmsNorm shape{rows, size, 1e-5};
    Twin<Bf16> x(cuda, rows * size, 1), weight(cuda, size, 2), y(cuda, rows * size), again(cuda, rows * size);
    Twin<float> rstd(cuda, rows);
    rmsnorm(cuda, shape, x.gpu(), weight.gpu(), y.gpu(), rstd.gpu());
    rmsnorm(oracle, shape, x.oracle(), weight.oracle(), y.oracle(), rstd.oracle());
    y.compare(check, "y of " + where, kBf16Absolute, kBf16Relative);
    rstd.compare(check, "rstd of " + where, kAbsolute, kRelative);
    rmsnorm_apply(cuda, shape, x.gpu(), weight.gpu(), rstd.gpu(), again.gpu());
    check.holds(again.values() == y.values(), "applied again, " + where);
    rmsnorm(cuda, shape, x.gpu(), weight.gpu(), x.gpu(), rstd.gpu());
    check.holds(x.values() == y.values(), "in place, " + where);
  }
}

void rms_norm_backward(const Cuda& cuda, Check& check) {
  for (const auto [rows, size] : kRows) {
    for (const bool add : {false, true}) {
      const std::string where = std::to_string(rows) + " rows of " + std::to_string(size) + (add ? ", added" : "");
      const RmsNorm shape{rows, size, 1e-5};
      Twin<Bf16> x(cuda, rows * size, 1), weight(cuda, size, 2), y(cuda, rows * size), dy(cuda, rows * size, 3),
          dx(cuda, rows * size, 4);
      Twin<float> rstd(cuda, rows), d_weight(cuda, size, 5);
      rmsnorm(cuda, shape, x.gpu(), weight.gpu(), y.gpu(), rstd.gpu());
      rmsnorm(oracle, shape, x.oracle(), weight.oracle(), y.oracle(), rstd.oracle());
      rmsnorm_backward(cuda, shape, dy.gpu(), x.gpu(), weight.gpu(), rstd.gpu(), add, dx.gpu(), d_weight.gpu());
      rmsnorm_backward(oracle, shape, dy.oracle(), x.oracle(), weight.oracle(), rstd.oracle(), add, dx.oracle(), d_weight.oracle());
      dx.compare(check, "dx of " + where, 2e-5 * static_cast<double>(size), kBf16Relative);  // differences cancel
      d_weight.compare(check, "d_weight of " + where, 1e-5, 1e-5);
    }
  }
}

void rope_there_and_back(const Cuda& cuda, Check& check) {
  for (const std::int64_t head_dim : {2, 64, 96, 128}) {
    const Rope shape{5, 3, head_dim, false};
    Twin<float> cosines(cuda, 9 * head_dim / 2, 1), sines(cuda, 9 * head_dim / 2, 2);
    const Numbers<std::int32_t> positions(cuda, {0, 1, 2, 8, 4});
    Twin<Bf16> x(cuda, 5 * 3 * head_dim, 3);
    for (const bool backward : {false, true}) {
      Rope turned = shape;
      turned.backward = backward;
      rope(cuda, turned, cosines.gpu(), sines.gpu(), positions.gpu(), x.gpu());
      rope(oracle, turned, cosines.oracle(), sines.oracle(), positions.oracle(), x.oracle());
      x.compare(check, "head_dim " + std::to_string(head_dim), 1e-2, kBf16Relative);  // a b - c d cancels
    }
  }
}

void swi_glu(const Cuda& cuda, Check& check) {
  for (const std::int64_t count : {1, 7, 8, 600, 4096, 70'001}) {
    Twin<Bf16> gate(cuda, count, 1, 4), up(cuda, count, 2), out(cuda, count), d_out(cuda, count, 3);
    swiglu(cuda, gate.gpu(), up.gpu(), count, out.gpu());
    swiglu(oracle, gate.oracle(), up.oracle(), count, out.oracle());
    out.compare(check, "out", kBf16Absolute, kBf16Relative);
    swiglu_backward(cuda, d_out.gpu(), gate.gpu(), up.gpu(), count);
    swiglu_backward(oracle, d_out.oracle(), gate.oracle(), up.oracle(), count);
    gate.compare(check, "gate's gradient", kBf16Absolute, kBf16Relative);
    up.compare(check, "up's gradient", kBf16Absolute, kBf16Relative);
  }
}

void moves_rows(const Cuda& cuda, Check& check) {
  for (const std::int64_t size : {1, 8, 13, 160}) {
    const Numbers<std::int32_t> ids(cuda, {4, 0, 6, 3});
    Twin<Bf16> table(cuda, 7 * size, 1), out(cuda, 4 * size), from(cuda, 4 * size, 2);
    gather_rows(cuda, table.gpu(), ids.gpu(), 4, size, out.gpu());
    gather_rows(oracle, table.oracle(), ids.oracle(), 4, size, out.oracle());
    out.compare(check, "gathered", 0, 0);
    scatter_rows(cuda, from.gpu(), ids.gpu(), 4, size, table.gpu());
    scatter_rows(oracle, from.oracle(), ids.oracle(), 4, size, table.oracle());
    table.compare(check, "scattered", 0, 0);
    const Numbers<std::int32_t> twice(cuda, {4, 4, 0, 4});
    Twin<float> sums(cuda, 7 * size, 3);
    scatter_add_rows(cuda, from.gpu(), twice.gpu(), 4, size, sums.gpu());
    scatter_add_rows(oracle, from.oracle(), twice.oracle(), 4, size, sums.oracle());
    sums.compare(check, "added", kAbsolute, kRelative);
  }
}

void adam_w(const Cuda& cuda, Check& check) {
  const kernels::AdamW settings{.learning_rate = 1e-2, .weight_decay = 0.1};
  for (const std::int64_t count : {1, 255, 1000}) {
    Twin<float> value(cuda, count, 1), gradient(cuda, count, 2), first(cuda, count), second(cuda, count);
    for (int step = 1; step <= 3; ++step) {
      adamw(cuda, settings, step, 0.5, value.gpu(), gradient.gpu(), first.gpu(), second.gpu(), count);
      adamw(oracle, settings, step, 0.5, value.oracle(), gradient.oracle(), first.oracle(), second.oracle(), count);
    }
    value.compare(check, "value", kAbsolute, kRelative);
    first.compare(check, "first moment", kAbsolute, kRelative);
    second.compare(check, "second moment", kAbsolute, kRelative);
  }
}

void dropout_drops_what_the_oracle_drops(const Cuda& cuda, Check& check) {
  for (const std::int64_t size : {1, 7, 64}) {
    const Numbers<std::int32_t> positions(cuda, {0, 1, 5});
    const Numbers<std::uint64_t> keys(cuda, {7, 7, 9});
    Dropout shape{0.25, 11, 3, size, positions.gpu(), keys.gpu()}, oracle_shape = shape;
    oracle_shape.positions = positions.oracle();
    oracle_shape.token_keys = keys.oracle();
    Twin<Bf16> x(cuda, 3 * size, 1), out(cuda, 3 * size, 2);
    for (const bool add : {true, false}) {
      dropout(cuda, shape, x.gpu(), add, out.gpu());
      dropout(oracle, oracle_shape, x.oracle(), add, out.oracle());
      out.compare(check, add ? "added" : "written", 8e-3, kBf16Relative);
    }
  }
}

void sums(const Cuda& cuda, Check& check) {
  for (const std::int64_t count : {1, 1000, 200'000}) {
    Twin<float> values(cuda, count, 1);
    const double expected = square_sum(oracle, values.oracle(), count), got = square_sum(cuda, values.gpu(), count);
    check.near("square sum", got, expected, 0, 1e-12);
  }
  check.holds(square_sum(cuda, nullptr, 0) == 0, "the sum of nothing");
  for (const auto [rows, size] : kRows) {
    Twin<Bf16> from(cuda, rows * size, 1);
    Twin<float> to(cuda, size, 2);
    add_column_sums(cuda, from.gpu(), rows, size, to.gpu());
    add_column_sums(oracle, from.oracle(), rows, size, to.oracle());
    to.compare(check, "column sums", 1e-5, 1e-5);
  }
}

void lowers_to_the_nearest(const Cuda& cuda, Check& check) {
  Twin<float> values(cuda, 1000, 1);
  Twin<Bf16> out(cuda, 1000), expected(cuda, 1000);
  lower(cuda, values.gpu(), 1000, out.gpu());
  const std::vector<double> wide = values.values();
  const std::vector<float> single(wide.begin(), wide.end());
  cuda.copy_in(expected.gpu(), single.data(), 1000);
  check.holds(out.values() == expected.values(), "rounded to the nearest");
}

}  // namespace
}  // namespace finetuned::kernels

namespace finetuned::kernel_cases {

void add_row_cases(std::vector<Case>& cases) {
  using namespace kernels;
  cases.push_back({"rmsnorm", rms_norm});
  cases.push_back({"rmsnorm backward", rms_norm_backward});
  cases.push_back({"rope", rope_there_and_back});
  cases.push_back({"swiglu", swi_glu});
  cases.push_back({"rows moved", moves_rows});
  cases.push_back({"adamw", adam_w});
  cases.push_back({"dropout", dropout_drops_what_the_oracle_drops});
  cases.push_back({"sums", sums});
  cases.push_back({"lower", lowers_to_the_nearest});
}

}  // namespace finetuned::kernel_cases
