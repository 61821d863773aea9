#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "trainer/kernels/counter_rng.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// The same numbers for both devices, uniform in [-spread, spread].
struct Numbers {
  Numbers(std::int64_t count, std::uint64_t seed, double spread = 1) {
    for (std::int64_t i = 0; i < count; ++i) {
      single.push_back(
          static_cast<float>(spread * (2 * random_uniform(seed, static_cast<std::uint64_t>(i)) - 1)));
      exact.push_back(single.back());
    }
  }
  std::vector<float> single;
  std::vector<double> exact;
};

/// Within atol 1e-6 and rtol 5e-6 of the oracle; rtol is of the greatest magnitude, since sums cancel.
inline void expect_close(const std::vector<float>& ours, const std::vector<double>& oracle,
                         const std::string& what) {
  ASSERT_EQ(ours.size(), oracle.size());
  double greatest = 0, worst = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    ASSERT_FALSE(std::isnan(ours[i])) << what << " at " << i;
    greatest = std::max(greatest, std::abs(oracle[i]));
    worst = std::max(worst, std::abs(ours[i] - oracle[i]));
  }
  EXPECT_LE(worst, 1e-6 + 5e-6 * greatest) << what;
}

/// Calls test(cpu) on each instruction set that this processor has, with one thread and with three.
template <class Test>
void on_each_cpu(const Test& test) {
  for (const auto isa : {tensor::Isa::kBaseline, tensor::Isa::kAvx2, tensor::Isa::kAvx512}) {
    if (isa > tensor::best_isa()) continue;
    for (const int threads : {1, 3}) {
      const tensor::Cpu cpu(threads, isa);
      SCOPED_TRACE(std::string(tensor::isa_name(isa)) + ", threads " + std::to_string(threads));
      test(cpu);
    }
  }
}

/// d/dt at 0 of f(x + t direction), by central differences at two widths; `f` reads x.
template <class Function>
double slope_along(std::vector<double>& x, const std::vector<double>& direction, const Function& f) {
  const std::vector<double> start = x;
  const auto at = [&](double t) {
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] = start[i] + t * direction[i];
    const double value = f();
    x = start;
    return value;
  };
  const double h = 1e-3;
  return (4 * (at(h / 2) - at(-h / 2)) / h - (at(h) - at(-h)) / (2 * h)) / 3;
}

inline double dot_of(const std::vector<double>& a, const std::vector<double>& b) {
  double total = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    total += a[i] * b[i];
  return total;
}

inline void expect_slope(double slope, double gradient) {
  EXPECT_NEAR(slope, gradient, 1e-8 * std::max(1.0, std::abs(gradient)));
}

}  // namespace finetuned::kernels
