#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/kernel_cases/cases.h"
#include "trainer/kernels/counter_rng.h"
#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// The same numbers on the GPU, in its type, and for the oracle, in its own: those that the GPU's type can hold.
template <class Type, class Oracle = double>
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
    device_.copy_out(drawn.data(), gpu(), this->count());
    host_.assign(drawn.begin(), drawn.end());
  }

  Twin(const tensor::Cuda& device, const std::vector<float>& values) : Twin(device, static_cast<std::int64_t>(values.size())) {
    device_.copy_in(gpu(), values.data(), count());
    host_.assign(values.begin(), values.end());
  }

  Type* gpu() { return static_cast<Type*>(memory_.data()); }
  Oracle* oracle() { return host_.data(); }
  std::int64_t count() const { return static_cast<std::int64_t>(host_.size()); }

  std::vector<double> values() {
    std::vector<float> read(host_.size());
    device_.copy_out(read.data(), gpu(), count());
    return {read.begin(), read.end()};
  }

  /// The two agree within absolute + relative |oracle|.
  void compare(kernel_cases::Check& check, const std::string& what, double absolute, double relative) {
    check.near(what, values(), {host_.begin(), host_.end()}, absolute, relative);
  }

 private:
  const tensor::Cuda& device_;
  std::vector<Oracle> host_;
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
