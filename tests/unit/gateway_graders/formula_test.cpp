#include "services/gateway/graders/formula.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/errors.h"
#include "services/gateway/graders/failure.h"

namespace finetuned::graders {
namespace {

const std::vector<std::string> kNames{"a", "b_2", "exact"};
const std::vector<double> kValues{0.5, 4, 1};

double value_of(const std::string& text) { return Formula(text, kNames, "f").evaluate(kValues); }

std::string refused(const std::string& text) {
  try {
    Formula(text, kNames, "grader.calculate_output");
  } catch (const base::ApiError& error) {
    EXPECT_EQ(error.status, 400);
    EXPECT_EQ(error.code, "invalid_formula");
    EXPECT_EQ(error.param, "grader.calculate_output");
    return error.what();
  }
  return "accepted";
}

TEST(Formula, FollowsArithmetic) {
  const std::pair<const char*, double> cases[] = {
      {"1", 1},
      {" 1 + 2 * 3 ", 7},
      {"(1 + 2) * 3", 9},
      {"8 / 4 / 2", 1},
      {"8 - 4 - 2", 2},
      {"2 ^ 3 ^ 2", 512},
      {"-2 ^ 2", -4},
      {"2 ^ -1", 0.5},
      {"(-2) ^ 2", 4},
      {"--2", 2},
      {"+2 - -2", 4},
      {"1e2 + .5", 100.5},
      {"a + b_2 * exact", 4.5},
      {"0.7*a+0.3*exact", 0.65},
      {"min(a, b_2, exact)", 0.5},
      {"max(a, min(b_2, 3))", 3},
      {"max(7)", 7},
      {"abs(-a)", 0.5},
      {"floor(-0.5)", -1},
      {"ceil(a)", 1},
      {"sqrt(b_2)", 2},
      {"log(exp(2))", 2},
      {"exp(0)", 1},
      {"(a\n+\texact) / 2", 0.75},
  };
  for (const auto& [text, value] : cases) EXPECT_DOUBLE_EQ(value_of(text), value) << text;
}

TEST(Formula, SyntaxIsRefusedWithItsPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "(byte 0)"},       {"1 +", "(byte 3)"},       {"(1", "(byte 2)"},         {"1)", "(byte 1)"},      {"1 2", "(byte 2)"},
      {"a b_2", "(byte 2)"},  {"1 ** 2", "(byte 3)"},    {"min()", "(byte 4)"},      {"min(1,)", "(byte 6)"}, {"min", "(byte 3)"},
      {"abs(1,2)", "(byte"},  {"1e999", "(byte 0)"},     {".", "(byte 0)"},          {"1 % 2", "(byte 2)"},   {"a.b", "(byte 1)"},
      {"__import__(1)", "no grader is named"},           {"A", "no grader is named"}, {"exact(1)", "(byte 5)"},
      {"inf", "no grader"},   {"nan", "no grader"},      {"\xC3\xA9", "(byte 0)"},   {"1;1", "(byte 1)"},     {"0x10", "(byte 1)"},
  };
  for (const auto& [text, part] : cases) EXPECT_NE(refused(text).find(part), std::string::npos) << text << ": " << refused(text);
}

TEST(Formula, IsBoundInSizeDepthAndArguments) {
  const auto repeat = [](const std::string& text, std::size_t times) {
    std::string all;
    for (std::size_t i = 0; i < times; ++i) all += text;
    return all;
  };
  EXPECT_DOUBLE_EQ(value_of(repeat("(", 31) + "1" + repeat(")", 31)), 1);
  EXPECT_NE(refused(repeat("(", 32) + "1" + repeat(")", 32)).find("deeper"), std::string::npos);
  EXPECT_NE(refused(repeat("-", 1000) + "1").find("deeper"), std::string::npos);
  EXPECT_NE(refused(repeat("2^", 400) + "1").find("deeper"), std::string::npos);
  EXPECT_NE(refused(repeat("abs(", 200)).find("deeper"), std::string::npos);
  EXPECT_DOUBLE_EQ(value_of(repeat("1+", 511) + "1"), 512);
  EXPECT_NE(refused(repeat("1+", 512) + "1").find("at most 1024 bytes"), std::string::npos);
  EXPECT_NE(refused("min(" + repeat("1,", 16) + "1)").find("at most 16"), std::string::npos);
}

TEST(Formula, NeverYieldsWhatIsNoFiniteNumber) {
  for (const char* text : {"1/0", "a/(exact-1)", "0/0", "0^-1", "sqrt(-1)", "log(0)", "log(-1)", "exp(1000)", "1e308*10", "(-8)^(1/3)",
                           "1/exp(1000)", "0*log(0)"})
    EXPECT_THROW(value_of(text), GradingFailure) << text;
  try {
    value_of("1/(a-a)");
    FAIL();
  } catch (const GradingFailure& failure) {
    EXPECT_EQ(failure.kind, FailureKind::kOther);
    EXPECT_STREQ(failure.what(), "calculate_output divides by zero");
  }
}

TEST(Formula, NamesAreWhatItCanCall) {
  for (const char* name : {"a", "_", "Exact_1", "minimum"}) EXPECT_TRUE(is_formula_name(name)) << name;
  for (const char* name : {"", "1a", "a b", "a-b", "min", "log", "a.b", "\xC3\xA9"}) EXPECT_FALSE(is_formula_name(name)) << name;
  EXPECT_FALSE(is_formula_name(std::string(65, 'a')));
}

}  // namespace
}  // namespace finetuned::graders
