#include "billing/points_payment.h"

#include <gtest/gtest.h>

namespace finetuned::billing {
namespace {

using storage::Payment;

void expect_split(const PaymentSplit& split, std::int64_t points, std::int64_t by_points, std::int64_t dollars) {
  EXPECT_EQ(split.points.value, points);
  EXPECT_EQ(split.by_points.value, by_points);
  EXPECT_EQ(split.dollars.value, dollars);
}

TEST(PointsPayment, DollarsPayAllWithoutBeingTold) {
  expect_split(split_price(Payment::kUsd, {1'500}, {9'999'999}), 0, 0, 1'500);
}

TEST(PointsPayment, PointsPayAllAndAPartOfAMicroPointCountsAsOne) {
  expect_split(split_price(Payment::kPoints, {3'000}, {0}), 3, 3'000, 0);
  expect_split(split_price(Payment::kPoints, {3'001}, {100}), 4, 3'001, 0);
  expect_split(split_price(Payment::kPointsThenUsd, {3'001}, {4}), 4, 3'001, 0);
}

TEST(PointsPayment, WherePointsRunOutDollarsPayTheRestToTheNanoDollar) {
  expect_split(split_price(Payment::kPointsThenUsd, {3'001}, {3}), 3, 3'000, 1);
  expect_split(split_price(Payment::kPointsThenUsd, {3'001}, {0}), 0, 0, 3'001);
  expect_split(split_price(Payment::kPointsThenUsd, {INT64_MAX}, {1}), 1, 1'000, INT64_MAX - 1'000);
}

TEST(PointsPayment, ABillTakesPointsFirst) {
  const PaymentSplit held = split_price(Payment::kPointsThenUsd, {10'500}, {4});  // 4 and 6,500
  expect_split(split_bill(held, {10'500}), 4, 4'000, 6'500);
  expect_split(split_bill(held, {4'000}), 4, 4'000, 0);
  expect_split(split_bill(held, {3'999}), 3, 3'000, 999);
  expect_split(split_bill(held, {0}), 0, 0, 0);
}

TEST(PointsPayment, WhereDollarsDoNotReachOneMicroPointMorePaysTheRest) {
  expect_split(split_bill(split_price(Payment::kPoints, {5'000}, {5}), {1'001}), 2, 1'001, 0);
  const PaymentSplit held = split_price(Payment::kPointsThenUsd, {4'001}, {4});  // 4 and 1
  expect_split(split_bill(held, {999}), 1, 998, 1);
}

// Whatever the price, what was had and what is billed: nothing beyond a hold, and the sum to the nano-dollar.
TEST(PointsPayment, EveryBillIsPaidExactlyWithinItsHolds) {
  for (const Payment payment : {Payment::kUsd, Payment::kPoints, Payment::kPointsThenUsd})
    for (const std::int64_t price : {0, 1, 999, 1'000, 1'001, 2'500, 5'999})
      for (std::int64_t had = 0; had <= 7; ++had) {
        const PaymentSplit held = split_price(payment, {price}, {had});
        ASSERT_EQ(held.by_points.value + held.dollars.value, price);
        for (std::int64_t bill = 0; bill <= price; ++bill) {
          const PaymentSplit paid = split_bill(held, {bill});
          ASSERT_EQ(paid.by_points.value + paid.dollars.value, bill);
          ASSERT_EQ(paid.points.value, (paid.by_points.value + 999) / 1'000);
          ASSERT_LE(paid.points, held.points);
          ASSERT_LE(paid.by_points, held.by_points);
          ASSERT_LE(paid.dollars, held.dollars);
        }
      }
}

}  // namespace
}  // namespace finetuned::billing
