#include "base/money.h"

#include <gtest/gtest.h>

#include "base/errors.h"

namespace finetuned::base {
namespace {

constexpr std::int64_t kTenthOfACentPer1k = 1'000'000;

TEST(Money, ATokenAtTheDefaultPriceIsAThousandNanoDollars) {
  EXPECT_EQ(price_of(1, kTenthOfACentPer1k).value, 1000);
  EXPECT_EQ(price_of(1000, kTenthOfACentPer1k).value, 1'000'000);
  EXPECT_EQ(price_of(0, kTenthOfACentPer1k).value, 0);
}

TEST(Money, RoundsHalfToEven) {
  EXPECT_EQ(price_of(1, 500).value, 0);
  EXPECT_EQ(price_of(3, 500).value, 2);
  EXPECT_EQ(price_of(5, 500).value, 2);
  EXPECT_EQ(price_of(1, 501).value, 1);
  EXPECT_EQ(price_of(7, 333).value, 2);  // 2.331
}

TEST(Money, SumDoesNotDependOnBatching) {
  for (const std::int64_t price : {1, 7, 333, 999'999, 1'000'001}) {
    std::int64_t sum = 0, cumulated = 0;
    for (const int step : {1, 17, 3, 999, 1, 1, 250, 4096}) {
      sum += price_of(cumulated + step, price).value - price_of(cumulated, price).value;
      cumulated += step;
    }
    EXPECT_EQ(sum, price_of(cumulated, price).value);
  }
}

TEST(Money, RefusesAPriceBeyondInt64) {
  EXPECT_EQ(price_of(INT64_MAX, 1000).value, INT64_MAX);
  EXPECT_THROW(price_of(INT64_MAX, 1001), std::overflow_error);
}

TEST(Money, ReadsAndWritesDollars) {
  EXPECT_EQ(format_dollars({0}), "$0.00");
  EXPECT_EQ(format_dollars({1'000}), "$0.000001");
  EXPECT_EQ(format_dollars({12'500'000'000}), "$12.50");
  EXPECT_EQ(format_dollars({-1}), "-$0.000000001");
  EXPECT_EQ(format_dollars({INT64_MIN}), "-$9223372036.854775808");
  EXPECT_EQ(parse_dollars("12.5").value, 12'500'000'000);
  EXPECT_EQ(parse_dollars("$0.000000001").value, 1);
  for (const char* bad : {"", "$", ".", "1.2.3", "-1", "1e3", "1.0000000001", "99999999999", "0x1"})
    EXPECT_THROW(parse_dollars(bad), UsageError) << bad;
}

TEST(Money, PointsHaveSixDecimals) {
  EXPECT_EQ(format_points(1'000'000), "1 point");
  EXPECT_EQ(format_points(1'250'000), "1.25 points");
  EXPECT_EQ(format_points(1), "0.000001 points");
  EXPECT_EQ(format_points(-1'500'000), "-1.5 points");
  EXPECT_EQ(parse_points("12.5"), 12'500'000);
  EXPECT_EQ(parse_points("0.000001"), 1);
  for (const char* wrong : {"", ".", "1.0000001", "-1", "1e3", "$1", "9223372036854.775808"})
    EXPECT_THROW(parse_points(wrong), UsageError) << wrong;
}

}  // namespace
}  // namespace finetuned::base
