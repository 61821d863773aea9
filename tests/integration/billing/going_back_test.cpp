// Jobs that go back behind what a donated worker trained: where they go on, what their owner pays, and what who takes the steps
// again earns.

#include "billing/donation_verdicts.h"
#include "billing/job_statement.h"
#include "storage/quota_store.h"
#include "storage/recheck_store.h"
#include "tests/integration/billing/donations_fixture.h"

namespace finetuned {
namespace {

using storage::DonationStore;
using storage::SavedState;

/// Jobs of 1,200 tokens, a micro-point each: 1,200,000 nano-dollars.
class GoingBack : public tests::DonationsTest {
 protected:
  GoingBack() {
    system([&](Transaction& tx) { DonationStore(tx).donate(second, donor.id); });
  }
  void TearDown() override { EXPECT_EQ(told(faults()), ""); }

  static SavedState state(std::int64_t step, std::int64_t tokens) { return {base::make_id("obj").substr(4), step, tokens}; }
  /// The operator's own worker has the job.
  storage::JobLease own(const storage::Job& job) { return claim(find(job.id)); }
  storage::JobLease own(const storage::Job& job, const std::vector<std::int64_t>& tokens_after) {
    const auto lease = own(job);
    checkpoint(lease, tokens_after);
    return lease;
  }
  void distrust(const std::string& worker) {
    system([&](Transaction& tx) { billing::distrust(tx, worker, "for a test"); });
  }
  /// The donated worker commits these steps, is lost and found out: the job is back at its beginning.
  void take_falsely(const storage::Job& job, const std::vector<std::int64_t>& tokens_after) {
    const auto part = begin(job);
    ASSERT_TRUE(commit(part, tokens_after));
    lose(part.lease);
    distrust(name);
  }
  void cancel(const storage::JobLease& lease) {
    system([&](Transaction& tx) {
      storage::JobStore(tx).request_cancel(lease.job_id);
      ASSERT_TRUE(storage::JobLeases(tx).finish_cancelled(lease));
      billing::settle_job(tx, lease.job_id);
    });
  }
  void fail(const storage::JobLease& lease, const std::string& code) {
    system([&](Transaction& tx) {
      ASSERT_TRUE(storage::JobLeases(tx).fail(lease, {.code = code, .message = "for a test", .param = std::nullopt}));
      billing::settle_job(tx, lease.job_id);
    });
  }
  /// What is missing of the project's credit, nothing being held.
  std::int64_t paid() {
    const billing::Balance now = balance();
    EXPECT_EQ(now.held.value, 0);
    return 1'000'000'000 - now.available.value;
  }
  billing::JobStatement statement(const storage::Job& job) {
    return system([&](Transaction& tx) { return billing::job_statement(tx, find(job.id)); });
  }
  std::string last_event(const storage::Job& job) {
    return system([&](Transaction& tx) { return storage::JobStore(tx).list_events(job.id, {.after = std::nullopt, .limit = 1, .ascending = false}); })
        .data.at(0).message;
  }
  std::int64_t earned(const Part& part) {
    return system([&](Transaction& tx) {
      return tx.execute("SELECT earned_micro FROM donated_stretch WHERE id = $1", {part.stretch}).row(0).integer("earned_micro");
    });
  }

  const std::string second = "donated-" + base::make_id("w").substr(2);
};

TEST_F(GoingBack, AStateThatIsKnownToBeFalseIsNeverGoneBackTo) {
  const auto job = create();
  const auto first = begin(job);
  ASSERT_TRUE(commit(first, {100, 200}));
  lose(first.lease, state(2, 200));
  const auto later = begin(find(job.id), second);  // begins with what the first one made
  ASSERT_TRUE(commit(later, {100, 200, 300, 400}));
  lose(later.lease, state(4, 400));
  distrust(name);
  ASSERT_FALSE(find(job.id).saved) << "back to its beginning";
  const auto again = own(job, {100});
  const SavedState good = state(1, 100);
  lose(again, good);
  distrust(second);
  const auto now = find(job.id);
  ASSERT_TRUE(now.saved);
  EXPECT_EQ(now.saved->object_id, good.object_id) << "what the second began with is false";
  EXPECT_EQ(system([&](Transaction& tx) { return storage::JobStore(tx).last_checkpoint(job.id); })->step, 1);
  EXPECT_EQ(points().pending, 0) << "it forfeits all the same";
  succeed(own(job), {100, 200, 300, 400, 1'200});
  EXPECT_EQ(paid(), 1'200'000);
}

TEST_F(GoingBack, TheOtherWayRoundItGoesBackTwice) {
  const auto job = create();
  const auto first = begin(job);
  ASSERT_TRUE(commit(first, {100, 200}));
  const SavedState between = state(2, 200);
  lose(first.lease, between);
  const auto later = begin(find(job.id), second);
  ASSERT_TRUE(commit(later, {100, 200, 300, 400}));
  lose(later.lease, state(4, 400));
  distrust(second);
  ASSERT_TRUE(find(job.id).saved);
  EXPECT_EQ(find(job.id).saved->object_id, between.object_id) << "nobody has shown that to be false";
  distrust(name);
  EXPECT_FALSE(find(job.id).saved);
  succeed(own(job), {100, 200, 300, 400, 1'200});
  EXPECT_EQ(paid(), 1'200'000);
}

TEST_F(GoingBack, WhoTrainedOnAFalseStateIsCheckedAndPaidAndTheJobLeftAlone) {
  const auto job = create();
  const auto first = begin(job);
  ASSERT_TRUE(commit(first, {100, 200}));
  lose(first.lease, state(2, 200));
  const auto honest = begin(find(job.id), second);
  ASSERT_TRUE(commit(honest, {100, 200, 300, 400}));
  system([&](Transaction& tx) {
    storage::DonationEvidence(tx).add(honest.stretch, {storage::Evidence::Kind::kCheckpoint, 4, 400, std::string(64, 'b'), std::nullopt});
  });
  lose(honest.lease, state(4, 400));
  distrust(name);
  const auto third = begin(find(job.id), second);
  ASSERT_TRUE(commit(third, {100, 200, 300, 400}));
  EXPECT_EQ(earned(third), 400) << "the steps that were paid for on the false state too: they were done again";
  const std::int64_t before = points().spendable;
  system([](Transaction& tx) { while (storage::RecheckStore(tx).open_one()) continue; });
  const auto check = system([&](Transaction& tx) { return storage::RecheckStore(tx).claim("own", engine, 60); });
  ASSERT_TRUE(check);
  EXPECT_EQ(check->job.id, job.id);
  EXPECT_TRUE(system([&](Transaction& tx) { return billing::agree(tx, *check, "the same bits"); }));
  EXPECT_EQ(points().spendable, before + 100) << "half of steps 3 and 4";
  EXPECT_EQ(find(job.id).state, storage::JobState::kRunning);
}

TEST_F(GoingBack, StepsThatOthersBookedBehindTheFalseOnesEarnForWhoTakesThemAgain) {
  const auto job = create();
  const auto first = begin(job);
  ASSERT_TRUE(commit(first, {100, 200}));
  lose(first.lease, state(2, 200));
  const auto operators = own(job, {100, 200, 300});
  lose(operators, state(3, 300));
  distrust(name);
  const auto again = begin(find(job.id), second);
  ASSERT_TRUE(commit(again, {100, 200}));
  EXPECT_EQ(earned(again), 200);
  ASSERT_TRUE(commit(again, {100, 200, 300, 400}));
  EXPECT_EQ(earned(again), 400);
  ASSERT_TRUE(commit(again, {100, 200, 300, 400}));
  EXPECT_EQ(earned(again), 400) << "once";
}

/// Two began at one step, since the first one died before it saved anything: the job has nothing of either.
TEST_F(GoingBack, WhatAnEarlierLeaseTrainedFromTheSameStepIsGoneToo) {
  const auto job = create();
  const auto first = begin(job);
  ASSERT_TRUE(commit(first, {100, 200}));
  lose(first.lease);
  const auto later = begin(find(job.id), second);
  ASSERT_TRUE(commit(later, {100, 200, 300, 400}));
  lose(later.lease, state(4, 400));
  distrust(second);
  ASSERT_FALSE(find(job.id).saved);
  const std::string third = "donated-" + base::make_id("w").substr(2);
  system([&](Transaction& tx) { DonationStore(tx).donate(third, donor.id); });
  const auto again = begin(find(job.id), third);
  ASSERT_TRUE(commit(again, {100, 200, 300, 400}));
  EXPECT_EQ(earned(again), 400);
  succeed(again.lease, {100, 200, 300, 400, 1'200});
  distrust(name);
  EXPECT_EQ(paid(), 1'200'000) << "nothing of the first one's is in what the job paid for";
  EXPECT_EQ(statement(job).given_back.value, 0);
}

TEST_F(GoingBack, AStateThatAnEarlierLeaseSavedStaysItsOwn) {
  const auto job = create();
  const auto first = begin(job);
  ASSERT_TRUE(commit(first, {100, 200}));
  lose(first.lease, state(2, 200));
  const auto later = begin(find(job.id), second);
  ASSERT_TRUE(commit(later, {100, 200, 300, 400}));
  lose(later.lease);
  distrust(second);
  succeed(own(job), {100, 200, 300, 400, 1'200});
  distrust(name);
  EXPECT_EQ(paid(), 0) << "steps 1 and 2 were never taken again";
}

TEST_F(GoingBack, WhatTheOperatorsWorkerTookAgainEarnsNothingForTheNext) {
  const auto job = create();
  take_falsely(job, {100, 200, 300});
  const auto operators = own(job, {100, 200});
  lose(operators);  // it saved nothing
  const auto next = begin(find(job.id), second);
  ASSERT_TRUE(commit(next, {100, 200, 300, 400}));
  EXPECT_EQ(earned(next), 200);
}

TEST_F(GoingBack, ACancelledJobPaysTheStepsThatStand) {
  const auto job = create();
  take_falsely(job, {100, 200, 300, 400});
  cancel(own(job, {100, 200}));
  EXPECT_EQ(paid(), 200'000) << "steps 3 and 4 were taken by nobody who is trusted";
  const auto bill = statement(job);
  EXPECT_EQ(bill.amount.value, 400'000) << "charged as it was booked";
  EXPECT_EQ(bill.given_back.value, 200'000);
  EXPECT_EQ(bill.billed_tokens, find(job.id).trained_tokens);
  EXPECT_EQ(system([&](Transaction& tx) { return storage::QuotaStore(tx).used(project.id).tokens_per_month; }), 200) << "nor do they use up the month's";
  EXPECT_THAT(last_event(job), testing::HasSubstr("$0.0002 was given back"));
}

TEST_F(GoingBack, OneThatIsCancelledAtOncePaysNothing) {
  const auto job = create();
  take_falsely(job, {100, 200, 300, 400});
  system([&](Transaction& tx) {
    storage::JobStore(tx).request_cancel(job.id);
    billing::settle_job(tx, job.id);
  });
  EXPECT_EQ(paid(), 0);
}

TEST_F(GoingBack, AFailedJobPaysTheSame) {
  for (const char* code : {"training_diverged", "internal_error"}) {
    const std::int64_t before = paid();
    const auto job = create();
    take_falsely(job, {100, 200, 300, 400});
    fail(own(job, {100, 200}), code);
    EXPECT_EQ(paid() - before, std::string(code) == "internal_error" ? 0 : 200'000) << code;
  }
}

/// The false one had trained further than the true one, which stopped early, and had told of more tokens than there are.
TEST_F(GoingBack, ASucceededJobPaysWhatItTrained) {
  const auto job = create();
  take_falsely(job, {500, 1'000, 1'000'000});
  succeed(own(job), {100, 200});
  EXPECT_EQ(paid(), 200'000);
}

TEST_F(GoingBack, DollarsComeBackBeforeThePointsThatPaidFirst) {
  system([&](Transaction& tx) {
    billing::Ledger(tx, billing::LedgerName::kPointsMicro).credit(base::make_uuid(), project.id, {300}, "an award");
  });
  storage::NewJob wanted = tests::new_job(project, model, file, 2);
  wanted.payment = storage::Payment::kPointsThenUsd;
  const auto job = tests::pool().transact(Scope::project(project.id), [&](Transaction& tx) { return billing::create_job(tx, wanted); });
  const auto first = begin(job);
  ASSERT_TRUE(commit(first, {100, 200, 300, 400}));  // 300 by points, 100 by dollars
  lose(first.lease);
  distrust(name);
  cancel(own(job, {100, 200}));
  EXPECT_EQ(paid(), 0);
  EXPECT_EQ(points(project.id).spendable, 100);
  EXPECT_EQ(statement(job).given_back.value, 200'000);
  EXPECT_THAT(last_event(job), testing::HasSubstr("$0.0001 was given back")) << "the dollars";
  EXPECT_THAT(last_event(job), testing::HasSubstr("0.0001 points and "));
}

/// A second verdict finds nothing left to give back, and says what the first one did.
TEST_F(GoingBack, WhatAnEarlierVerdictGaveBackIsNotSaidToHaveCostNothing) {
  const auto job = create();
  const auto first = begin(job);
  ASSERT_TRUE(commit(first, {100, 200}));
  lose(first.lease, state(2, 200));
  const auto later = begin(find(job.id), second);
  succeed(later.lease, {100, 200, 300, 1'200});
  distrust(second);
  distrust(name);
  EXPECT_EQ(paid(), 0);
  EXPECT_THAT(last_event(job), testing::HasSubstr("What it cost was given back"));
}

TEST_F(GoingBack, ACorrectionThatWasCorrectedGaveNothingBack) {
  const auto job = create();
  const auto first = begin(job);
  succeed(first.lease, {100, 200, 300, 400});
  const std::string wrong = base::make_uuid();
  system([&](Transaction& tx) {
    const std::string post = tx.execute("SELECT id::text AS id FROM transfer WHERE job_id = $1 AND kind = 'post'", {job.id}).row(0).text("id");
    billing::Ledger ledger(tx);
    ledger.correct(wrong, post, {300'000}, "the wrong job");
    ledger.correct(base::make_uuid(), wrong, {200'000}, "not all of it");
  });
  EXPECT_EQ(statement(job).given_back.value, 100'000);
  distrust(name);
  EXPECT_EQ(paid(), 0);
  EXPECT_EQ(statement(job).given_back.value, 400'000);
}

/// The same, where the job went back and its charge was charged again by hand.
TEST_F(GoingBack, VerifyCountsACorrectionOfACorrection) {
  const auto job = create();
  take_falsely(job, {100, 200, 300, 400});
  cancel(own(job, {100, 200}));
  const auto correct_last = [&](std::int64_t nano) {
    system([&](Transaction& tx) {
      billing::Ledger(tx).correct(base::make_uuid(),
          tx.execute("SELECT id::text AS id FROM transfer WHERE job_id = $1 AND kind = 'correction' ORDER BY seq DESC LIMIT 1", {job.id}).row(0).text("id"),
          {nano}, "for a test");
    });
  };
  correct_last(50'000);
  EXPECT_THAT(told(faults()), testing::HasSubstr("pays 250000, and 200000 is the price"));
  correct_last(50'000);
  EXPECT_EQ(told(faults()), "");
}

TEST_F(GoingBack, VerifyNamesAJobThatPaysForWhatDoesNotStand) {
  const auto job = create();
  take_falsely(job, {100, 200, 300, 400});
  cancel(own(job, {100, 200}));
  const auto undone = [&](const char* sql) {
    std::string found;
    try {
      system([&](Transaction& tx) {
        tx.execute(sql, {job.id});
        found = told(billing::verify_ledger(tx).faults);
        throw std::runtime_error("undone");
      });
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "undone");
    }
    return found;
  };
  EXPECT_THAT(undone("UPDATE job SET standing_tokens = 199 WHERE id = $1"), testing::HasSubstr("pays 200000, and 199000 is the price"));
  EXPECT_THAT(undone("UPDATE donated_work SET superseded = true WHERE job_id = $1"), testing::HasSubstr("its work gives"));
}

}  // namespace
}  // namespace finetuned
