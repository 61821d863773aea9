#include "trainer/kernels/cuda/matmul.h"

#include <algorithm>
#include <cctype>
#include <gtest/gtest.h>
#include <utility>

#include "tests/cuda_emulator/emulator.h"
#include "tests/kernel_cases/cases.h"
#include "tests/kernel_cases/twins.h"
#include "tests/unit/cuda_matmul/emulated_cublaslt.h"

// The engine's own calls of cuBLASLt, given to a library that computes what cuBLASLt's documentation says.

namespace finetuned::kernel_cases {

/// GoogleTest's name for it: without this it would print the bytes.
void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

namespace {

class CallsOfCublasLt : public testing::TestWithParam<Case> {};

TEST_P(CallsOfCublasLt, GiveWhatTheOracleGives) {
  emulated_cublaslt::start_by(cuda_emulator::start);
  const tensor::Cuda cuda;
  Check check;
  GetParam().run(cuda, check);
  for (const std::string& fault : check.faults()) ADD_FAILURE() << fault;
}

/// Products alone, and whole models of one kind, whose layers have biases: whatever a run multiplies.
std::vector<Case> cases() {
  std::vector<Case> all, models;
  add_product_cases(all);
  add_model_cases(models);
  for (Case& one : models)
    if (one.name.starts_with("qwen2, ")) all.push_back(std::move(one));
  return all;
}

std::string test_name(const testing::TestParamInfo<Case>& one) {
  std::string name = one.param.name;
  std::replace_if(name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Small, CallsOfCublasLt, testing::ValuesIn(cases()), test_name);

}  // namespace
}  // namespace finetuned::kernel_cases

namespace finetuned::kernels::cuda {
namespace {

using emulated_cublaslt::Refuses;
using tensor::Bf16;

/// m rows of 12 times 12 by 5, and where it is wrong.
class Rows : public testing::Test {
 protected:
  Rows() {
    emulated_cublaslt::start_by(cuda_emulator::start);
    emulated_cublaslt::refuse(Refuses::kNone);
  }
  ~Rows() override { emulated_cublaslt::refuse(Refuses::kNone); }

  void multiply(std::int64_t m) {
    Matmul<float> product;
    product.m = m, product.n = 5, product.k = 12;
    product.left = {left_.gpu(), 12, false};
    product.right = {right_.gpu(), 12, true};
    product.c = c_.gpu();
    product.c_stride = 5;
    matmul(cuda_, product);
    const std::vector<double> got = c_.values();
    for (std::int64_t row = 0; row < m; ++row)
      for (std::int64_t column = 0; column < 5; ++column) {
        double expected = 0;
        for (std::int64_t k = 0; k < 12; ++k) expected += left_.oracle()[row * 12 + k] * right_.oracle()[column * 12 + k];
        ASSERT_NEAR(got[static_cast<std::size_t>(row * 5 + column)], expected, 1e-5) << row << ", " << column;
      }
  }

  tensor::Cuda cuda_;
  Twin<Bf16> left_{cuda_, 200 * 12, 1}, right_{cuda_, 5 * 12, 2};
  Twin<float> c_{cuda_, 200 * 5};
};

TEST_F(Rows, OfOneClassHaveOneAlgorithm) {
  for (const std::int64_t m : {1, 5, 127, 128}) {
    multiply(m);
    EXPECT_EQ(emulated_cublaslt::last_algorithm().columns, 128u) << m;
    EXPECT_EQ(emulated_cublaslt::last_algorithm().place, 0u) << m;
  }
  multiply(129);
  EXPECT_EQ(emulated_cublaslt::last_algorithm().columns, 256u);
}

TEST_F(Rows, AreAskedForOnce) {
  multiply(5);
  const int before = emulated_cublaslt::questions();
  multiply(5);
  EXPECT_EQ(emulated_cublaslt::questions(), before);
}

TEST_F(Rows, TakeTheClasssNextAlgorithmWhereTheFirstIsRefused) {
  emulated_cublaslt::refuse(Refuses::kFirst);
  multiply(5);
  EXPECT_EQ(emulated_cublaslt::last_algorithm().columns, 128u);
  EXPECT_EQ(emulated_cublaslt::last_algorithm().place, 1u);
}

TEST_F(Rows, AreMultipliedAlsoWhereTheyAreRefusedEveryAlgorithmOfTheirClass) {
  emulated_cublaslt::refuse(Refuses::kAll);
  multiply(5);
  EXPECT_EQ(emulated_cublaslt::last_algorithm().columns, 5u);
}

TEST_F(Rows, AreNotMultipliedByWhatWasChosenForABiasThatLiesBetter) {
  Twin<Bf16> bias(cuda_, 16, 3), c(cuda_, 5);
  Matmul<Bf16> product;
  product.m = 1, product.n = 5, product.k = 12;
  product.left = {left_.gpu(), 12, false};
  product.right = {right_.gpu(), 12, true};
  product.c = c.gpu();
  product.c_stride = 5;
  product.bias = bias.gpu();
  matmul(cuda_, product);
  const int before = emulated_cublaslt::questions();
  product.bias = bias.gpu() + 1;
  matmul(cuda_, product);
  EXPECT_EQ(emulated_cublaslt::questions(), before + 1);
}

}  // namespace
}  // namespace finetuned::kernels::cuda
