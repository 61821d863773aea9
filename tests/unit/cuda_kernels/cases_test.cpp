#include <algorithm>
#include <cctype>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/cuda_emulator/emulator.h"
#include "tests/kernel_cases/cases.h"

namespace finetuned::kernel_cases {

/// GoogleTest's name for it: without this it would print the bytes.
void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

namespace {

class EmulatedGpu : public testing::TestWithParam<Case> {};

TEST_P(EmulatedGpu, IsTheOracles) {
  const tensor::Cuda cuda;
  for (const std::uint64_t seed : {1, 2}) {
    cuda_emulator::set_seed(seed);
    Check check([seed] { cuda_emulator::set_seed(seed + 2); });
    GetParam().run(cuda, check);
    for (const std::string& fault : check.faults()) ADD_FAILURE() << fault << " (order " << seed << ")";
  }
}

std::string test_name(const testing::TestParamInfo<Case>& one) {
  std::string name = one.param.name;
  std::replace_if(name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Small, EmulatedGpu, testing::ValuesIn(small_cases()), test_name);

TEST(Check, FindsWhatDiffers) {
  Check check;
  check.near("same", 1, 1, 0, 0);
  check.near("close", 1.005, 1, 0, 1e-2);
  EXPECT_TRUE(check.faults().empty());
  EXPECT_NEAR(check.worst(), 0.5, 1e-9);
  check.near("far", {1, 2}, {1, 2.1}, 0, 1e-2);
  check.near("no number", NAN, 1, 1, 1);
  check.near("fewer", {1}, {1, 2}, 1, 1);
  check.holds(false, "false");
  EXPECT_EQ(check.faults().size(), 4u);
}

}  // namespace
}  // namespace finetuned::kernel_cases
