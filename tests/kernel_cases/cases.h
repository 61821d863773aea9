#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "trainer/tensor/cuda.h"

namespace finetuned::kernel_cases {

/// What a case finds: each number's distance from the oracle's, and what does not hold.
class Check {
 public:
  /// `reorder`: what makes the next run's threads come in another order, where anything can.
  explicit Check(std::function<void()> reorder = {}) : reorder_(std::move(reorder)) {}

  /// |got - expected| <= absolute + relative |expected|; not so for what is no number.
  void near(const std::string& what, double got, double expected, double absolute, double relative);
  /// The same of all of them; the worst one is told.
  void near(const std::string& what, const std::vector<double>& got, const std::vector<double>& expected, double absolute,
            double relative);
  void holds(bool held, const std::string& what);
  void reorder() const {
    if (reorder_) reorder_();
  }

  const std::vector<std::string>& faults() const { return faults_; }
  /// The greatest distance as a part of what is allowed.
  double worst() const { return worst_; }
  std::int64_t compared() const { return compared_; }

 private:
  std::function<void()> reorder_;
  std::vector<std::string> faults_;
  double worst_ = 0;
  std::int64_t compared_ = 0;
};

/// One piece of the engine on a GPU, beside its twin on the processor.
struct Case {
  std::string name;  ///< `attention, head_dim 96`
  std::function<void(const tensor::Cuda&, Check&)> run;
};

/// Beside tensor::Reference, in double precision: every kernel with small and odd shapes, and whole tiny models.
std::vector<Case> small_cases();
/// Beside tensor::Cpu, in single precision, with the shapes of real models: too large for the emulator.
std::vector<Case> large_cases();

// What small_cases() are made of.
void add_row_cases(std::vector<Case>& cases);
void add_product_cases(std::vector<Case>& cases);
void add_attention_cases(std::vector<Case>& cases);
void add_model_cases(std::vector<Case>& cases);

}  // namespace finetuned::kernel_cases
