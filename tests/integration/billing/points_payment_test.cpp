#include "billing/points_payment.h"

#include <atomic>
#include <thread>

#include "base/errors.h"
#include "base/uuid.h"
#include "billing/costs.h"
#include "billing/job_statement.h"
#include "billing/monthly_statement.h"
#include "tests/integration/billing/books_fixture.h"

namespace finetuned {
namespace {

using billing::LedgerName;
using storage::Payment;
using tests::pool;

/// A job of this project costs 1,200 tokens: 1,200,000 nano-dollars, or 1,200 micro-points.
class PointsPayment : public tests::BooksTest {
 protected:
  static constexpr std::int64_t kPrice = 1'200'000;

  void TearDown() override {
    EXPECT_EQ(told(system(billing::verify_ledger).faults), "");
  }
  void give_points(std::int64_t micro) {
    system([&](Transaction& tx) {
      billing::Ledger(tx, LedgerName::kPointsMicro).credit(base::make_uuid(), project.id, {micro}, "an award");
    });
  }
  storage::Job create_paid(Payment payment) {
    storage::NewJob job = tests::new_job(project, model, file, 2);
    job.payment = payment;
    return pool().transact(Scope::project(project.id), [&](Transaction& tx) { return billing::create_job(tx, job); });
  }
  billing::Balance points() {
    return system([&](Transaction& tx) { return billing::Ledger(tx, LedgerName::kPointsMicro).balance(project.id); });
  }
  billing::PaymentSplit charged(const storage::Job& job) {
    return system([&](Transaction& tx) { return billing::split_charged(tx, find(job.id)); });
  }
  std::string refusal(Payment payment) {
    try {
      create_paid(payment);
    } catch (const base::ApiError& error) {
      return std::to_string(error.status) + " " + error.code + ": " + error.what();
    }
    return "";
  }
};

TEST_F(PointsPayment, PointsAloneAreHeldAndPostedAndNoDollarOfTheProjectMoves) {
  give_points(2'000);
  const auto job = create_paid(Payment::kPoints);
  EXPECT_EQ(points().held.value, 1'200);
  EXPECT_FALSE(job.hold_transfer_id);
  const auto lease = claim(job);
  checkpoint(lease, {300, 600});
  succeed(lease, {300, 600, 900, 1'200});
  EXPECT_EQ(points().available.value, 800);
  EXPECT_EQ(points().spent.value, 1'200);
  EXPECT_EQ(points().held.value, 0);
  EXPECT_EQ(balance().spent.value, 0);
  EXPECT_EQ(charged(job).by_points.value, kPrice);
}

TEST_F(PointsPayment, WhatIsCancelledPaysItsCommittedSteps) {
  give_points(2'000);
  const auto job = create_paid(Payment::kPoints);
  const auto lease = claim(job);
  checkpoint(lease, {300});
  system([&](Transaction& tx) {
    storage::JobStore(tx).request_cancel(job.id);
    ASSERT_TRUE(storage::JobLeases(tx).finish_cancelled(lease));
    billing::settle_job(tx, job.id);
  });
  EXPECT_EQ(points().spent.value, 300);
  EXPECT_EQ(points().available.value, 1'700);
}

TEST_F(PointsPayment, AJobCancelledBeforeItRanGivesBothHoldsBack) {
  give_points(500);
  tests::give_credit(pool(), project, kPrice);
  const auto job = create_paid(Payment::kPointsThenUsd);
  EXPECT_EQ(points().held.value, 500);
  EXPECT_EQ(balance().held.value, 700'000);
  system([&](Transaction& tx) {
    storage::JobStore(tx).request_cancel(job.id);
    billing::settle_job(tx, job.id);
  });
  EXPECT_EQ(points().available.value, 500);
  EXPECT_EQ(balance().available.value, kPrice);
}

TEST_F(PointsPayment, WherePointsRunOutDollarsPayTheRestAndAllOfItAddsUp) {
  give_points(500);
  tests::give_credit(pool(), project, kPrice);
  const auto job = create_paid(Payment::kPointsThenUsd);
  const auto lease = claim(job);
  succeed(lease, {300, 600, 900, 1'200});
  EXPECT_EQ(points().spent.value, 500);
  EXPECT_EQ(balance().spent.value, 700'000);
  system([&](Transaction& tx) {
    const auto statement = billing::job_statement(tx, find(job.id));
    EXPECT_EQ(statement.amount.value, kPrice);
    EXPECT_EQ(statement.paid_as.by_points.value + statement.paid_as.dollars.value, kPrice);
    EXPECT_EQ(statement.paid_as.points.value, 500);
    billing::CostQuery query;
    query.end = 1LL << 40;
    query.by_line_item = true;
    query.most_sums = 9;
    const auto sums = billing::costs(tx, project.organization_id, query);
    ASSERT_EQ(sums.size(), 1u);
    EXPECT_EQ(sums[0].nano, "700000");
    EXPECT_EQ(sums[0].points, "500");
    EXPECT_EQ(sums[0].tokens, "1200");  // once, though two posts are for them
  });
}

TEST_F(PointsPayment, ABillBelowThePointsLeavesTheDollarsAlone) {
  give_points(500);
  tests::give_credit(pool(), project, kPrice);
  const auto job = create_paid(Payment::kPointsThenUsd);
  const auto lease = claim(job);
  checkpoint(lease, {300});
  system([&](Transaction& tx) {
    storage::JobStore(tx).request_cancel(job.id);
    ASSERT_TRUE(storage::JobLeases(tx).finish_cancelled(lease));
    billing::settle_job(tx, job.id);
  });
  EXPECT_EQ(points().spent.value, 300);
  EXPECT_EQ(balance().spent.value, 0);
  EXPECT_EQ(balance().available.value, kPrice);
}

TEST_F(PointsPayment, TooLittleIsRefusedWithWhatIsMissingAndNothingIsHeld) {
  give_points(500);
  EXPECT_THAT(refusal(Payment::kPoints), testing::StartsWith("429 insufficient_quota: This job costs 0.0012 points"));
  EXPECT_THAT(refusal(Payment::kPoints), testing::HasSubstr("0.0007 points are missing"));
  EXPECT_THAT(refusal(Payment::kPointsThenUsd), testing::HasSubstr("This job costs $0.0007"));
  EXPECT_EQ(points().held.value, 0);
}

TEST_F(PointsPayment, AJobFailedByOurFaultPaysNothingInEither) {
  give_points(500);
  tests::give_credit(pool(), project, kPrice);
  const auto job = create_paid(Payment::kPointsThenUsd);
  const auto lease = claim(job);
  checkpoint(lease, {300, 600});
  system([&](Transaction& tx) {
    ASSERT_TRUE(storage::JobLeases(tx).fail(lease, {"internal_error", "ours", std::nullopt}));
    billing::settle_job(tx, job.id);
  });
  EXPECT_EQ(points().available.value, 500);
  EXPECT_EQ(balance().available.value, kPrice);
}

// I2, of both ledgers at once: points for 10 jobs and dollars for 5, and 200 clients that want one each.
TEST_F(PointsPayment, TwoHundredClientsOverdrawNeither) {
  give_points(12'000);
  tests::give_credit(pool(), project, 5 * kPrice);
  const auto many = tests::make_pool(16);
  std::atomic<int> made{0}, refused{0}, next{0};
  const auto client = [&] {
    while (true) {
      const int turn = next++;
      if (turn >= 200) return;
      storage::NewJob job = tests::new_job(project, model, file, 2);
      job.payment = turn % 3 == 0 ? Payment::kPoints : turn % 3 == 1 ? Payment::kPointsThenUsd : Payment::kUsd;
      try {
        many->transact(Scope::project(project.id), [&](Transaction& tx) { return billing::create_job(tx, job); });
        ++made;
      } catch (const base::ApiError& error) {
        EXPECT_EQ(error.status, 429) << error.what();
        ++refused;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 16; ++i) threads.emplace_back(client);
  }
  EXPECT_EQ(made, 15);
  EXPECT_EQ(refused, 185);
  EXPECT_EQ(points().available.value, 0);
  EXPECT_EQ(balance().available.value, 0);
}

TEST_F(PointsPayment, VerifyNamesAJobWhosePointsAreNotWhatTheyStandFor) {
  give_points(2'000);
  const auto job = create_paid(Payment::kPoints);
  const std::string found = told([&] {
    std::vector<billing::LedgerFault> faults;
    try {
      system([&](Transaction& tx) {
        tx.execute("UPDATE job SET points_hold_id = NULL, liquidity_hold_id = NULL WHERE id = $1", {job.id});
        faults = billing::verify_ledger(tx).faults;
        throw std::runtime_error("undone");
      });
    } catch (const std::runtime_error&) {
    }
    return faults;
  }());
  EXPECT_THAT(found, testing::HasSubstr("the job does not name it"));
}

TEST_F(PointsPayment, TheMonthOfThePointsAccountAddsUp) {
  give_points(2'000);
  const auto job = create_paid(Payment::kPoints);
  succeed(claim(job), {1'200});
  const std::string month = system([](Transaction& tx) {
    return tx.execute("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM') AS month").row(0).text("month");
  });
  const auto statement = system([&](Transaction& tx) {
    return billing::monthly_statement(tx, LedgerName::kPointsMicro, project.id, month);
  });
  ASSERT_EQ(statement.lines.size(), 2u);
  EXPECT_EQ(statement.lines[1].amount.value, -1'200);
  EXPECT_EQ(statement.closing.value, 800);
}

}  // namespace
}  // namespace finetuned
