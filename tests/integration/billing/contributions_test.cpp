#include "billing/contributions.h"

#include <functional>
#include <set>
#include <thread>

#include "billing/points_payment.h"
#include "services/contributions/contributions.h"
#include "storage/donation_store.h"
#include "tests/integration/billing/books_fixture.h"

namespace finetuned {
namespace {

namespace json = boost::json;
using billing::LedgerName;
using storage::ChallengeStore;
using storage::Contribution;
using tests::pool;

/// A sponsor's challenge, a contributor, and verification jobs that end with the losses that the test names.
class ContributionsTest : public tests::BooksTest {
 protected:
  static constexpr std::int64_t kReward = 1'000'001;

  storage::Project contributor = tests::make_project(pool());
  std::string challenge_id = base::make_id("chal");
  contributions::Contributions leader{pool(), std::chrono::milliseconds(10)};

  void SetUp() override {
    system([](Transaction& tx) {  // other tests' are not this one's to move on
      tx.execute("UPDATE contribution SET state = 'failed', decided_at = clock_timestamp() WHERE state IN ('queued', 'running')");
      tx.execute("UPDATE contribution SET state = 'won', forfeited_at = coalesce(forfeited_at, clock_timestamp())"
                 " WHERE state IN ('won', 'confirming') AND vested_at IS NULL");
      tx.execute("UPDATE contribution_run SET measured_at = clock_timestamp(), problem = 'left' WHERE measured_at IS NULL");
    });
    tests::give_credit(pool(), project, 1'000'000'000);
    make_challenge("valid_loss", 1.0, 0.1);
  }
  void TearDown() override { EXPECT_EQ(told(system(billing::verify_ledger).faults), ""); }

  static json::object recipe(int rank) { return {{"n_epochs", 1}, {"batch_size", 4}, {"lora_rank", rank}}; }

  void make_challenge(const std::string& metric, double target, double margin) {
    challenge_id = base::make_id("chal");
    storage::NewChallenge challenge;
    challenge.id = challenge_id;
    challenge.organization_id = project.organization_id;
    challenge.project_id = project.id;
    challenge.name = "better";
    challenge.base_model = model.name;
    challenge.training_file = challenge.validation_file = file.id;
    challenge.metric = metric;
    challenge.token_budget = 10'000;
    challenge.seeds = {1, 2, 3};
    challenge.reward_micro = kReward;
    challenge.target = target;
    challenge.margin = margin;
    challenge.incumbent = recipe(8);
    system([&](Transaction& tx) { ChallengeStore(tx).insert(challenge); });
  }
  std::string submit(const json::object& with) {
    storage::NewContribution contribution{base::make_id("contrib"), challenge_id, contributor.id, with, std::nullopt};
    system([&](Transaction& tx) { ChallengeStore(tx).insert(contribution); });
    return contribution.id;
  }
  Contribution find_contribution(const std::string& id) {
    return system([&](Transaction& tx) { return *ChallengeStore(tx).find_contribution(id); });
  }
  std::vector<storage::ContributionRun> runs(const std::string& id, int round = 1) {
    return system([&](Transaction& tx) { return ChallengeStore(tx).runs(id, round); });
  }
  billing::Balance points() {
    return system([&](Transaction& tx) { return billing::Ledger(tx, LedgerName::kPointsMicro).balance(contributor.id); });
  }
  std::int64_t pending() {
    return system([&](Transaction& tx) { return billing::Ledger(tx, LedgerName::kPointsMicro).escrowed(contributor.id).value; });
  }
  /// The very one, of several of its project.
  storage::JobLease claim(const storage::Job& job) {
    return system([&](Transaction& tx) {
      const auto claimed = tx.execute(
          "UPDATE job SET state = 'running', started_at = clock_timestamp(), worker = 'test', lease_epoch = lease_epoch + 1,"
          " lease_until = clock_timestamp() + interval '1 hour' WHERE id = $1 AND state = 'queued' RETURNING lease_epoch",
          {job.id});
      EXPECT_EQ(claimed.size(), 1u) << to_string(job.state);
      return storage::JobLease{job.id, claimed.row(0).integer("lease_epoch")};
    });
  }
  /// As a worker ends a job whose last step measured `loss`.
  void train(const std::string& job_id, double loss, const char* metric = "full_valid_loss") {
    const auto lease = claim(find(job_id));
    system([&](Transaction& tx) {
      const json::object data{{"step", 2}, {"train_loss", loss + 0.5}, {metric, loss}};
      storage::JobLeases(tx).append_events(lease, {storage::NewEvent{storage::EventLevel::kInfo, "step", data, true}});
    });
    succeed(lease, {300, 600});
  }
  using Losses = std::function<double(const storage::ContributionRun&)>;
  /// Until the contribution is decided: each run as `loss_of` says.
  void verify(const std::string& id, const Losses& loss_of, int round = 1) {
    leader.advance();
    for (const auto& run : runs(id, round)) {
      ASSERT_TRUE(run.job_id) << run.seed;
      train(*run.job_id, loss_of(run));
    }
    leader.advance();
  }
  /// The incumbent at 3.0, the recipe at `mean`, a little apart by seed.
  static Losses losses(double mean) {
    return [mean](const storage::ContributionRun& run) {
      const auto spread = static_cast<double>(run.seed % 3) / 100;
      return run.of_incumbent ? 3.0 + 2 * spread : mean + spread;
    };
  }
};

/// Their figures are a worker's own word: no donated one may have them.
TEST_F(ContributionsTest, JobsThatDecideAreToldApart) {
  const std::string id = submit(recipe(16));
  leader.advance();
  const auto under_way = runs(id);
  ASSERT_TRUE(under_way.at(0).job_id);
  const std::string other = create().id;
  system([&](Transaction& tx) {
    EXPECT_TRUE(storage::DonationStore(tx).decides(*under_way.at(0).job_id));
    EXPECT_FALSE(storage::DonationStore(tx).decides(other));
  });
}

TEST_F(ContributionsTest, ABetterRecipeIsMeasuredByTheSponsorsJobsAndEarnsHalfNowAndHalfLater) {
  const std::string id = submit(recipe(16));
  verify(id, losses(2.0));
  const Contribution won = find_contribution(id);
  EXPECT_EQ(won.state, "won") << won.reason.value_or("");
  EXPECT_LT(*won.p_value, billing::kSignificance);
  // (3.02 - 2.01) / (3.02 - 1) = 1 / 2, of 1,000,001
  EXPECT_NEAR(static_cast<double>(won.award_micro), 500'000, 1);
  EXPECT_EQ(points().available.value, won.award_micro - won.escrow_micro);
  EXPECT_EQ(pending(), won.escrow_micro);
  EXPECT_EQ(won.escrow_micro, won.award_micro / 2);
  EXPECT_EQ(*won.vests_at - *won.decided_at, billing::kVestingDays * 86'400);
  EXPECT_EQ(balance().spent.value, 6 * 600'000) << "three seeds, two recipes, 600 tokens each, of the sponsor's dollars";
  system([&](Transaction& tx) {
    const auto challenge = *ChallengeStore(tx).find(challenge_id);
    EXPECT_EQ(challenge.incumbent_id, id);
    EXPECT_EQ(challenge.incumbent.at("lora_rank"), 16);
    EXPECT_EQ(ChallengeStore(tx).leaderboard(challenge, 10).size(), 1u);
  });
  EXPECT_EQ(runs(id)[0].curve.as_array().size(), 1u);
}

TEST_F(ContributionsTest, BothSidesAreTrainedWithTheSameSeeds) {
  const std::string id = submit(recipe(16));
  leader.advance();
  std::multiset<std::int64_t> sides[2];
  for (const auto& run : runs(id)) {
    const auto job = find(*run.job_id);
    EXPECT_EQ(job.seed, run.seed);
    EXPECT_EQ(job.project_id, project.id);
    EXPECT_EQ(job.hyperparameters.at("lora_rank"), run.of_incumbent ? 8 : 16);
    sides[run.of_incumbent].insert(run.seed);
  }
  EXPECT_EQ(sides[0], (std::multiset<std::int64_t>{1, 2, 3}));
  EXPECT_EQ(sides[1], sides[0]);
}

TEST_F(ContributionsTest, ACopyOfTheIncumbentIsNotEvenTrained) {
  const std::string id = submit(recipe(8));
  leader.advance();
  EXPECT_EQ(find_contribution(id).state, "rejected");
  EXPECT_THAT(*find_contribution(id).reason, testing::HasSubstr("incumbent"));
  EXPECT_TRUE(runs(id).empty());
}

TEST_F(ContributionsTest, EqualResultsEarnNothing) {
  const std::string id = submit(recipe(16));
  verify(id, [](const auto& run) { return 3.0 + static_cast<double>(run.seed); });
  EXPECT_EQ(find_contribution(id).state, "lost");
  EXPECT_EQ(*find_contribution(id).reason, "its results are the incumbent's");
  EXPECT_EQ(points().credited.value, 0);
}

TEST_F(ContributionsTest, TheLuckOfOneSeedEarnsNothing) {
  const std::string id = submit(recipe(16));
  verify(id, [](const auto& run) { return run.of_incumbent || run.seed != 2 ? 3.0 : 1.0; });
  EXPECT_EQ(find_contribution(id).state, "lost");
  EXPECT_THAT(*find_contribution(id).reason, testing::HasSubstr("luck"));
  EXPECT_EQ(points().credited.value, 0);
}

TEST_F(ContributionsTest, LessThanTheMarginEarnsNothing) {
  const std::string id = submit(recipe(16));
  verify(id, [](const auto& run) { return (run.of_incumbent ? 3.0 : 2.95) + static_cast<double>(run.seed) / 1000; });
  EXPECT_EQ(find_contribution(id).state, "lost");
  EXPECT_THAT(*find_contribution(id).reason, testing::HasSubstr("margin"));
}

TEST_F(ContributionsTest, AWinBeyondTheTargetEarnsTheWholeRewardAndTheNextOneNothing) {
  const std::string first = submit(recipe(16));
  verify(first, losses(0.5));
  EXPECT_EQ(find_contribution(first).award_micro, kReward);
  const std::string second = submit(recipe(32));
  verify(second, [](const auto& run) { return (run.of_incumbent ? 0.5 : 0.2) + static_cast<double>(run.seed) / 1000; });
  EXPECT_EQ(find_contribution(second).state, "won");
  EXPECT_EQ(find_contribution(second).award_micro, 0);
}

/// Small steps, each of much of the way that is left, would sum to more than one reward.
TEST_F(ContributionsTest, ManySmallWinsEarnNoMoreThanTheReward) {
  double incumbent = 3.0;  // the target is 1.0
  std::int64_t sum = 0, by_formula = 0;
  for (int step = 1; step <= 5; ++step) {
    const double next = incumbent - 0.35;
    const std::string id = submit(recipe(8 + step));
    verify(id, [&](const auto& run) {
      return (run.of_incumbent ? incumbent : next) + static_cast<double>(run.seed % 3) / 1000 * (run.of_incumbent ? 2 : 1);
    });
    const Contribution won = find_contribution(id);
    ASSERT_EQ(won.state, "won") << step << ": " << won.reason.value_or("");
    by_formula += static_cast<std::int64_t>(static_cast<double>(kReward) * 0.35 / (incumbent - 1.0));
    sum += won.award_micro;
    EXPECT_LE(sum, kReward) << step;
    EXPECT_EQ(points().credited.value + pending(), sum);
    incumbent = next;
  }
  EXPECT_GT(by_formula, kReward) << "without the bound they had earned more";
  EXPECT_EQ(sum, kReward);
}

TEST_F(ContributionsTest, WhatWasForfeitedCanBeEarnedAgain) {
  const std::string first = submit(recipe(16));
  verify(first, losses(0.5));
  EXPECT_EQ(find_contribution(first).award_micro, kReward);
  system([&](Transaction& tx) { tx.execute("UPDATE contribution SET confirm_asked_at = clock_timestamp() WHERE id = $1", {first}); });
  verify(first, [](const auto& run) { return 3.0 + static_cast<double>(run.seed % 7) / 100; }, 2);
  const Contribution forfeited = find_contribution(first);
  ASSERT_TRUE(forfeited.forfeited_at);
  const std::string second = submit(recipe(32));
  verify(second, [](const auto& run) { return (run.of_incumbent ? 3.0 : 0.5) + static_cast<double>(run.seed) / 1000 * (run.of_incumbent ? 2 : 1); });
  EXPECT_EQ(find_contribution(second).award_micro, forfeited.escrow_micro);
  EXPECT_EQ(points().credited.value + pending(), kReward);
}

TEST_F(ContributionsTest, OfAccuracyMoreIsBetter) {
  make_challenge("valid_mean_token_accuracy", 1.0, 0.01);
  const std::string id = submit(recipe(16));
  leader.advance();
  for (const auto& run : runs(id))
    train(*run.job_id, (run.of_incumbent ? 0.5 : 0.75) + static_cast<double>(run.seed) / 1e6, "full_valid_mean_token_accuracy");
  leader.advance();
  EXPECT_EQ(find_contribution(id).state, "won");
  EXPECT_NEAR(static_cast<double>(find_contribution(id).award_micro), kReward / 2.0, 10);
}

TEST_F(ContributionsTest, WhatWasMeasuredBeforeIsNotMeasuredAgain) {
  const std::string first = submit(recipe(16));
  verify(first, losses(4.0));
  EXPECT_EQ(find_contribution(first).state, "lost");
  const std::string again = submit(recipe(16));
  leader.advance();
  EXPECT_EQ(find_contribution(again).state, "rejected");
  EXPECT_THAT(*find_contribution(again).reason, testing::HasSubstr(first));
}

TEST_F(ContributionsTest, OneAtATimeSoThatWhatIsToBeBeatenStandsStill) {
  const std::string first = submit(recipe(16)), second = submit(recipe(32));
  leader.advance();
  EXPECT_EQ(find_contribution(first).state, "running");
  EXPECT_EQ(find_contribution(second).state, "queued");
  verify(first, losses(2.0));
  leader.advance();
  EXPECT_EQ(find_contribution(second).state, "running");
  EXPECT_EQ(find_contribution(second).against.at("lora_rank"), 16);
  EXPECT_EQ(find_contribution(second).against_id, first);
}

TEST_F(ContributionsTest, TheSecondHalfVestsWhenItsTimeHasComeByTheDatabasesClock) {
  const std::string id = submit(recipe(16));
  verify(id, losses(2.0));
  const Contribution won = find_contribution(id);
  leader.advance();
  EXPECT_EQ(pending(), won.escrow_micro);
  system([&](Transaction& tx) { tx.execute("UPDATE contribution SET vests_at = clock_timestamp() WHERE id = $1", {id}); });
  leader.advance();
  leader.advance();
  EXPECT_EQ(pending(), 0);
  EXPECT_EQ(points().available.value, won.award_micro);
  EXPECT_TRUE(find_contribution(id).vested_at);
}

TEST_F(ContributionsTest, ASecondVerificationVestsTheRestAtOnceOrForfeitsIt) {
  for (const bool again : {true, false}) {
    make_challenge("valid_loss", 1.0, 0.1);
    const auto before = points();
    const std::string id = submit(recipe(16));
    verify(id, losses(2.0));
    const Contribution won = find_contribution(id);
    system([&](Transaction& tx) { tx.execute("UPDATE contribution SET confirm_asked_at = clock_timestamp() WHERE id = $1", {id}); });
    verify(id, losses(again ? 2.0 : 3.5), 2);
    const Contribution after = find_contribution(id);
    EXPECT_EQ(after.state, "won");
    EXPECT_EQ(after.vested_at.has_value(), again);
    EXPECT_EQ(after.forfeited_at.has_value(), !again);
    EXPECT_EQ(pending(), 0);
    EXPECT_EQ(points().available.value - before.available.value, again ? won.award_micro : won.award_micro - won.escrow_micro);
    EXPECT_EQ(runs(id, 2).size(), 6u);
    leader.advance();
    EXPECT_EQ(runs(id, 2).size(), 6u) << "once";
  }
}

TEST_F(ContributionsTest, ARunThatFailedByOurFaultIsTakenAgainAndThenGivenUp) {
  const std::string id = submit(recipe(16));
  leader.advance();
  const auto fail_first = [&](const char* code) {
    const auto lease = claim(find(*runs(id)[0].job_id));
    system([&](Transaction& tx) {
      storage::JobLeases(tx).fail(lease, {code, "why", std::nullopt});
      billing::settle_job(tx, lease.job_id);
    });
    leader.advance();
  };
  const std::string first_job = *runs(id)[0].job_id;
  fail_first("worker_crashed");
  EXPECT_NE(*runs(id)[0].job_id, first_job);
  fail_first("worker_crashed");
  EXPECT_FALSE(runs(id)[0].measured);
  fail_first("worker_crashed");
  EXPECT_TRUE(runs(id)[0].measured);
  EXPECT_EQ(*runs(id)[0].problem, "worker_crashed");
  for (const auto& run : runs(id))
    if (!run.measured) train(*run.job_id, losses(2.0)(run));
  leader.advance();
  EXPECT_EQ(find_contribution(id).state, "failed") << "what could not be run has not lost";
  EXPECT_EQ(points().credited.value, 0);
}

TEST_F(ContributionsTest, ARecipeWhoseTrainingHasNoMetricLoses) {
  const std::string id = submit(recipe(16));
  leader.advance();
  for (const auto& run : runs(id)) {
    if (run.of_incumbent)
      train(*run.job_id, 3.0);
    else
      succeed(claim(find(*run.job_id)), {300, 600});
  }
  leader.advance();
  EXPECT_EQ(find_contribution(id).state, "lost");
  EXPECT_THAT(*find_contribution(id).reason, testing::HasSubstr("diverged"));
}

TEST_F(ContributionsTest, ASponsorWithoutMoneyHoldsItsVerificationsUpAndSaysSo) {
  const auto poor = tests::make_project(pool());
  const auto data = tests::make_counted_file(pool(), poor, model, {100});
  system([&](Transaction& tx) {
    tx.execute("UPDATE challenge SET project_id = $2, organization_id = $3, training_file = $4, validation_file = $4 WHERE id = $1",
               {challenge_id, poor.id, poor.organization_id, data.id});
  });
  const std::string id = submit(recipe(16));
  leader.advance();
  leader.advance();
  EXPECT_THAT(find_contribution(id).reason.value_or(""), testing::HasSubstr("insufficient_quota"));
  EXPECT_FALSE(runs(id)[0].job_id);
  tests::give_credit(pool(), poor, 1'000'000'000);
  leader.advance();
  EXPECT_TRUE(runs(id)[5].job_id);
  EXPECT_FALSE(find_contribution(id).reason);
}

TEST_F(ContributionsTest, ASponsorWhoCannotPayHoldsNobodyElseUp) {
  const auto poor = tests::make_project(pool());
  const auto data = tests::make_counted_file(pool(), poor, model, {100});
  system([&](Transaction& tx) {
    tx.execute("UPDATE challenge SET project_id = $2, organization_id = $3, training_file = $4, validation_file = $4 WHERE id = $1",
               {challenge_id, poor.id, poor.organization_id, data.id});
  });
  submit(recipe(16));
  make_challenge("valid_loss", 1.0, 0.1);
  const std::string id = submit(recipe(16));
  verify(id, losses(2.0));
  EXPECT_EQ(find_contribution(id).state, "won");
}

TEST_F(ContributionsTest, WithoutItsFilesAChallengesContributionsFailAndDoNotWaitForEver) {
  const std::string first = submit(recipe(16)), second = submit(recipe(32));
  system([&](Transaction& tx) { tx.execute("UPDATE file SET purpose = 'user_data' WHERE id = $1", {file.id}); });
  leader.advance();
  leader.advance();
  leader.advance();
  for (const std::string& id : {first, second}) {
    EXPECT_EQ(find_contribution(id).state, "failed");
    EXPECT_THAT(find_contribution(id).reason.value_or(""), testing::HasSubstr("invalid_training_file"));
  }
}

TEST_F(ContributionsTest, AClosedChallengeTakesNoMore) {
  const std::string id = submit(recipe(16));
  system([&](Transaction& tx) { ChallengeStore(tx).close(challenge_id); });
  leader.advance();
  EXPECT_EQ(find_contribution(id).state, "rejected");
}

/// What a killed leader leaves: its transaction, undone.
struct Killed : std::runtime_error {
  Killed() : std::runtime_error("killed") {}
};

// Every step is done, lost before its commit, and done again.
TEST_F(ContributionsTest, AKillBeforeAnyCommitChangesNothing) {
  const auto killed = [&](const auto& step) {
    try {
      system([&](Transaction& tx) -> int {
        step(tx);
        throw Killed();
      });
    } catch (const Killed&) {
    }
  };
  const std::string id = submit(recipe(16));
  killed([](Transaction& tx) { EXPECT_TRUE(billing::begin_verification(tx)); });
  EXPECT_EQ(find_contribution(id).state, "queued");
  EXPECT_TRUE(system(billing::begin_verification));
  for (const auto& run : system([](Transaction& tx) { return billing::runs_to_start(tx, 10); })) {
    killed([&](Transaction& tx) { EXPECT_TRUE(billing::start_run(tx, run)); });
    EXPECT_TRUE(system([&](Transaction& tx) { return billing::start_run(tx, run); }));
    EXPECT_FALSE(system([&](Transaction& tx) { return billing::start_run(tx, run); })) << "a run has one job";
  }
  EXPECT_EQ(balance().held.value, 6 * 600'000);
  for (const auto& run : runs(id)) train(*run.job_id, losses(2.0)(run));
  killed([](Transaction& tx) { EXPECT_EQ(billing::measure_runs(tx, 10), 6); });
  EXPECT_EQ(system([](Transaction& tx) { return billing::measure_runs(tx, 10); }), 6);
  EXPECT_EQ(system([](Transaction& tx) { return billing::measure_runs(tx, 10); }), 0);
  killed([](Transaction& tx) { EXPECT_TRUE(billing::decide_one(tx)); });
  EXPECT_EQ(points().credited.value, 0);
  EXPECT_TRUE(system(billing::decide_one));
  EXPECT_FALSE(system(billing::decide_one));
  const Contribution won = find_contribution(id);
  system([&](Transaction& tx) { tx.execute("UPDATE contribution SET vests_at = clock_timestamp() WHERE id = $1", {id}); });
  killed([](Transaction& tx) { EXPECT_EQ(billing::vest_awards(tx, 10), 1); });
  EXPECT_EQ(pending(), won.escrow_micro);
  EXPECT_EQ(system([](Transaction& tx) { return billing::vest_awards(tx, 10); }), 1);
  EXPECT_EQ(system([](Transaction& tx) { return billing::vest_awards(tx, 10); }), 0);
  EXPECT_EQ(points().available.value, won.award_micro);
}

TEST_F(ContributionsTest, ManyLeadersAtOnceCreateEachJobOnceAndAwardOnce) {
  const auto many = tests::make_pool(8);
  const auto all_lead = [&] {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        contributions::Contributions one(*many, std::chrono::milliseconds(1));
        for (int turn = 0; turn < 10; ++turn) one.advance();
      });
  };
  const std::string id = submit(recipe(16));
  all_lead();
  leader.advance();  // those who found another leading went on without it
  const std::int64_t jobs = system([&](Transaction& tx) {
    return tx.execute("SELECT count(*) AS jobs FROM job WHERE metadata->>'contribution' = $1", {id}).row(0).integer("jobs");
  });
  EXPECT_EQ(jobs, 6);
  for (const auto& run : runs(id)) train(*run.job_id, losses(2.0)(run));
  all_lead();
  leader.advance();
  const Contribution won = find_contribution(id);
  EXPECT_EQ(won.state, "won");
  EXPECT_EQ(points().credited.value, won.award_micro - won.escrow_micro);
  EXPECT_EQ(pending(), won.escrow_micro);
}

}  // namespace
}  // namespace finetuned
