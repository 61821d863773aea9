#include "billing/paired_test.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace finetuned::billing {
namespace {

// Student's t with 2 degrees of freedom has a closed form: P(T > t) = 1/2 - t / (2 sqrt(2 + t^2)).
TEST(PairedTest, OfThreePairsHasTheClosedFormsTail) {
  for (const std::array<double, 3>& d : {std::array{1.0, 2.0, 4.0}, std::array{0.3, -0.1, 0.2}, std::array{-1.0, -2.0, 0.5}}) {
    const PairedTest test = paired_test(d);
    EXPECT_NEAR(test.p_value, 0.5 - test.t / (2 * std::sqrt(2 + test.t * test.t)), 1e-14);
  }
}

// With one degree of freedom it is Cauchy's: P(T > t) = 1/2 - atan(t) / pi.
TEST(PairedTest, OfTwoPairsIsCauchys) {
  const std::array d{1.0, 3.0};
  const PairedTest test = paired_test(d);
  EXPECT_DOUBLE_EQ(test.t, 2.0);
  EXPECT_NEAR(test.p_value, 0.5 - std::atan(2.0) / M_PI, 1e-14);
}

// The tables' critical values at 0.05, one-sided: 2.9200 (2), 2.1318 (4), 1.8331 (9), 1.7291 (19).
TEST(PairedTest, AgreesWithTheTablesOfStudentsDistribution) {
  const std::pair<int, double> table[] = {{3, 2.919986}, {5, 2.131847}, {10, 1.833113}, {20, 1.729133}};
  for (const auto& [pairs, critical] : table) {
    std::vector<double> d;  // symmetric about 0, of a spread that is known; then moved so that t is the critical value
    for (int i = 0; i < pairs; ++i) d.push_back(i - (pairs - 1) / 2.0);
    double squares = 0;
    for (const double one : d) squares += one * one;
    const double shift = critical * std::sqrt(squares / (pairs - 1) / pairs);
    for (double& one : d) one += shift;
    EXPECT_NEAR(paired_test(d).t, critical, 1e-12);
    EXPECT_NEAR(paired_test(d).p_value, 0.05, 1e-6) << pairs;
  }
}

TEST(PairedTest, EqualResultsAreNoWin) {
  EXPECT_EQ(paired_test(std::array{0.0, 0.0, 0.0}).p_value, 1);
}

TEST(PairedTest, TheSameGainEachTimeIsCertainWhateverItsRounding) {
  EXPECT_EQ(paired_test(std::array{0.1, 0.1, 0.1}).p_value, 0);
  EXPECT_EQ(paired_test(std::array{-0.1, -0.1, -0.1}).p_value, 1);
}

TEST(PairedTest, TheLuckOfOneSeedDoesNotConvince) {
  EXPECT_GT(paired_test(std::array{0.9, 0.001, -0.001}).p_value, 0.05);
  EXPECT_LT(paired_test(std::array{0.3, 0.31, 0.29}).p_value, 0.05);
}

TEST(Award, IsTheShareOfTheGapToTheTargetRoundedDownToTheMicroPoint) {
  EXPECT_EQ(award_of(10'000'000, 2.0, 1.5, 1.0, true), 5'000'000);
  EXPECT_EQ(award_of(10, 3.0, 2.0, 0.0, true), 3);
  EXPECT_EQ(award_of(10'000'000, 0.5, 0.75, 1.0, false), 5'000'000);
}

TEST(Award, IsClippedAtBothEnds) {
  EXPECT_EQ(award_of(10'000'000, 2.0, 0.5, 1.0, true), 10'000'000);
  EXPECT_EQ(award_of(10'000'000, 2.0, 1.0, 1.0, true), 10'000'000);
  EXPECT_EQ(award_of(10'000'000, 2.0, 2.0, 1.0, true), 0);
  EXPECT_EQ(award_of(10'000'000, 2.0, 2.5, 1.0, true), 0);
  EXPECT_EQ(award_of(INT64_MAX, 2.0, -9e9, 1.0, true), INT64_MAX);
}

TEST(Award, AnIncumbentAtTheTargetOrBeyondLeavesNothing) {
  EXPECT_EQ(award_of(10'000'000, 1.0, 0.5, 1.0, true), 0);
  EXPECT_EQ(award_of(10'000'000, 0.9, 0.5, 1.0, true), 0);
  EXPECT_EQ(award_of(10'000'000, 1.0, 1.0, 1.0, false), 0);
}

TEST(Award, OfWhatIsNoNumberIsNothing) {
  EXPECT_EQ(award_of(10'000'000, 2.0, std::nan(""), 1.0, true), 0);
  EXPECT_EQ(award_of(10'000'000, std::nan(""), 1.0, 1.0, true), 0);
}

}  // namespace
}  // namespace finetuned::billing
