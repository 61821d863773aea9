// What a donated worker earns, in the commits that book a job's usage.

#include <random>

#include "tests/integration/billing/donations_fixture.h"

namespace finetuned {
namespace {

using storage::DonationStore;
using Donations = tests::DonationsTest;
using Points = Donations::Points;

TEST_F(Donations, HalfIsSpendableAndHalfWaitsWithTheOddMicroPoint) {
  const auto part = begin(create());  // 1,200 tokens at $0.001 a thousand: a micro-point a token
  ASSERT_TRUE(commit(part, {101}));
  EXPECT_EQ(points(), (Points{50, 51}));
  ASSERT_TRUE(commit(part, {101, 202}));
  EXPECT_EQ(points(), (Points{101, 101}));
  EXPECT_EQ(points(project.id), (Points{0, 0})) << "whose job it is has nothing of it";
  EXPECT_EQ(tests::BooksTest::told(faults()), "");
}

TEST_F(Donations, AStepEarnsOnceWhoeverTakesItAgain) {
  const auto job = create();
  const auto first = begin(job);
  ASSERT_TRUE(commit(first, {100, 200}));
  ASSERT_TRUE(commit(first, {100, 200})) << "a commit whose outcome was not known is tried again";
  EXPECT_EQ(points(), (Points{100, 100}));
  lose(first.lease);
  const auto second = begin(job);  // from its beginning
  ASSERT_TRUE(commit(second, {100, 200}));
  EXPECT_EQ(points(), (Points{100, 100}));
  ASSERT_TRUE(commit(second, {100, 200, 300}));
  EXPECT_EQ(points(), (Points{150, 150}));
  EXPECT_EQ(tests::BooksTest::told(faults()), "");
  EXPECT_THROW(system([&](Transaction& tx) {
    tx.execute("INSERT INTO donated_work (stretch_id, job_id, project_id, steps, tokens_from, tokens_to, prepaid_micro, escrow_micro)"
               " VALUES ($1, $2, $3, '[2,3)', 100, 200, 0, 0)", {second.stretch, job.id, project.id});
  }), postgres::SqlError);
}

TEST_F(Donations, WhatAnotherWorkerTrainedOrBookedIsNotPaid) {
  const auto job = create();
  const auto own = claim(job);  // the operator's
  checkpoint(own, {100, 200});
  lose(own, storage::SavedState{"0123456789abcdef0123456789abcde1", 3, 300});
  const auto part = begin(find(job.id));
  ASSERT_TRUE(commit(part, {100, 200, 300, 400}));  // step 3 was saved and not committed
  EXPECT_EQ(points(), (Points{50, 50}));
  EXPECT_EQ(tests::BooksTest::told(faults()), "");
}

TEST_F(Donations, MoreTokensThanTheJobHasEarnNothing) {
  const auto part = begin(create());
  ASSERT_TRUE(commit(part, {1'000'000'000'000}));
  EXPECT_EQ(points(), (Points{600, 600}));
  EXPECT_EQ(tests::BooksTest::told(faults()), "");
}

/// It could have its own job refunded and keep what was spendable at once.
TEST_F(Donations, JobsOfTheProjectThatEarnsEarnNothing) {
  system([&](Transaction& tx) { DonationStore(tx).donate(name, project.id); });
  const auto part = begin(create());
  ASSERT_TRUE(commit(part, {101}));
  EXPECT_EQ(points(project.id), (Points{0, 0}));
  EXPECT_EQ(tests::BooksTest::told(faults()), "");
}

TEST_F(Donations, NobodySaysTwoThingsOfOneStep) {
  const auto part = begin(create());
  const storage::Evidence said{storage::Evidence::Kind::kCheckpoint, 1, 101, std::string(64, 'b'), std::nullopt};
  storage::Evidence other = said;
  other.sha256 = std::string(64, 'c');
  for (int tries = 0; tries < 2; ++tries)
    system([&](Transaction& tx) { storage::DonationEvidence(tx).add(part.stretch, said); });
  EXPECT_THROW(system([&](Transaction& tx) { storage::DonationEvidence(tx).add(part.stretch, other); }), std::runtime_error);
}

TEST_F(Donations, AStaleLeaseCommitsAndEarnsNothing) {
  const auto job = create();
  const auto part = begin(job);
  lose(part.lease);
  EXPECT_FALSE(commit(part, {100}));
  EXPECT_EQ(points(), (Points{0, 0}));
}

TEST_F(Donations, HowStepsWereCutIntoCheckpointsChangesNothing) {
  std::mt19937_64 random(7);
  const int tries = tests::times("FINETUNED_DONATION_TRIES", 12);
  for (int i = 0; i < tries; ++i) {
    const auto price = std::uniform_int_distribution<std::int64_t>(1, 3'000'000)(random);
    std::vector<std::int64_t> tokens;
    for (std::int64_t sum = 0; sum < 1'100;) tokens.push_back(sum += std::uniform_int_distribution<std::int64_t>(1, 90)(random));
    Points earned[2];
    for (Points& cut : earned) {
      const Points before = points();
      const auto job = create();
      const auto part = begin(job);
      set_price(job, price);
      for (std::size_t at = 0; at < tokens.size();) {
        at = std::min(tokens.size(), at + std::uniform_int_distribution<std::size_t>(1, 9)(random));
        ASSERT_TRUE(commit(part, {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(at)}));
      }
      cut = {points().spendable - before.spendable, points().pending - before.pending};
    }
    const std::int64_t all = billing::micro_points_for(tokens.back(), price);
    EXPECT_EQ(earned[0], earned[1]) << price;
    EXPECT_EQ(earned[0], (Points{all / 2, all - all / 2})) << price;
  }
}

TEST_F(Donations, VerifyNamesWhatDoesNotFit) {
  const auto part = begin(create());
  ASSERT_TRUE(commit(part, {100}));
  ASSERT_EQ(tests::BooksTest::told(faults()), "");
  const auto undone = [&](const char* sql) {
    std::string found;
    try {
      tests::make_superuser_pool()->transact(Scope::system(), [&](Transaction& tx) {
        tx.execute("SET LOCAL session_replication_role = replica");  // past triggers and foreign keys
        tx.execute(sql, {part.stretch});
        found = tests::BooksTest::told(billing::verify_ledger(tx).faults);
        throw std::runtime_error("undone");
      });
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "undone");
    }
    return found;
  };
  EXPECT_THAT(undone("UPDATE donated_work SET escrow_micro = escrow_micro + 1 WHERE stretch_id = $1"), testing::HasSubstr("its transfer moves"));
  EXPECT_THAT(undone("UPDATE donated_work SET tokens_to = tokens_to + 7 WHERE stretch_id = $1"), testing::HasSubstr("are worth 107"));
  EXPECT_THAT(undone("UPDATE donated_stretch SET earned_micro = 90 WHERE id = $1"), testing::HasSubstr("its work gives 100, 100 and 50"));
  EXPECT_THAT(undone("UPDATE donated_stretch SET decided_at = clock_timestamp(), outcome = 'vested' WHERE id = $1"),
              testing::HasSubstr("its transfer moves nothing"));
  EXPECT_THAT(undone("UPDATE donated_stretch SET decided_at = clock_timestamp(), outcome = 'nothing' WHERE id = $1"),
              testing::HasSubstr("has 50 micro-points in escrow, 0 wait for checks"));
}

TEST_F(Donations, AStoppedWorkerLosesItsLeaseAndTheJobIsNoCrash) {
  const auto job = create();
  const auto part = begin(job);
  system([&](Transaction& tx) {
    EXPECT_TRUE(DonationStore(tx).stop(name, "for a test"));
    EXPECT_FALSE(DonationStore(tx).stop(name, "again"));
    EXPECT_EQ(DonationStore(tx).end_leases(name), std::vector<std::string>{job.id});
  });
  EXPECT_FALSE(commit(part, {100}));
  system([](Transaction& tx) { storage::JobLeases(tx).sweep(1'000, 10'000); });
  EXPECT_EQ(find(job.id).state, storage::JobState::kQueued);
  const auto worker = system([&](Transaction& tx) { return *DonationStore(tx).find(name); });
  EXPECT_FALSE(worker.gets_jobs());
  EXPECT_EQ(worker.stop_reason, "for a test");
  system([&](Transaction& tx) {
    EXPECT_TRUE(DonationStore(tx).allow(name));
    EXPECT_TRUE(DonationStore(tx).withdraw(name));
    EXPECT_FALSE(DonationStore(tx).find(name)->gets_jobs());
    EXPECT_TRUE(DonationStore(tx).donate(name, donor.id));
    EXPECT_TRUE(DonationStore(tx).find(name)->gets_jobs());
  });
}

}  // namespace
}  // namespace finetuned
