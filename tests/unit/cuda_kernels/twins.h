#pragma once

#include <cmath>
#include <cstdint>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "trainer/kernels/counter_rng.h"
#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// The same numbers on the GPU, in its type, and for the oracle, in double: those that the GPU's type can hold.
template <class Type>
class Twin {
 public:
  Twin(const tensor::Cuda& device, std::int64_t count) : device_(device), host_(static_cast<std::size_t>(count)) {
    memory_ = device.allocate(host_.size() * sizeof(Type));
  }
  /// Uniform in [-spread, spread).
  Twin(const tensor::Cuda& device, std::int64_t count, std::uint64_t seed, double spread = 1) : Twin(device, count) {
    std::vector<float> drawn(host_.size());
    for (std::size_t i = 0; i < drawn.size(); ++i)
      drawn[i] = static_cast<float>(spread * (2 * random_uniform(random_key(seed), i) - 1));
    device_.copy_in(gpu(), drawn.data(), static_cast<std::int64_t>(drawn.size()));
    host_ = values();
  }

  Type* gpu() { return static_cast<Type*>(memory_.data()); }
  double* oracle() { return host_.data(); }
  std::int64_t count() const { return static_cast<std::int64_t>(host_.size()); }

  std::vector<double> values() {
    std::vector<float> read(host_.size());
    device_.copy_out(read.data(), gpu(), count());
    return {read.begin(), read.end()};
  }

  /// Whether the two agree within absolute + relative |oracle|.
  void expect_equal(const std::string& what, double absolute, double relative) {
    const std::vector<double> got = values();
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (std::abs(got[i] - host_[i]) <= absolute + relative * std::abs(host_[i])) continue;
      ADD_FAILURE() << what << ": element " << i << " is " << got[i] << ", the oracle's " << host_[i];
      return;
    }
  }

 private:
  const tensor::Cuda& device_;
  std::vector<double> host_;
  tensor::Buffer memory_;
};

/// Whole numbers on the GPU.
template <class Number>
class Numbers {
 public:
  Numbers(const tensor::Cuda& device, std::vector<Number> numbers) : host_(std::move(numbers)) {
    memory_ = device.allocate(host_.size() * sizeof(Number));
    device.copy_in(static_cast<Number*>(memory_.data()), host_.data(), static_cast<std::int64_t>(host_.size()));
  }
  const Number* gpu() const { return static_cast<const Number*>(memory_.data()); }
  const Number* oracle() const { return host_.data(); }

 private:
  std::vector<Number> host_;
  tensor::Buffer memory_;
};

}  // namespace finetuned::kernels
