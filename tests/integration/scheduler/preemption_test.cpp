#include "storage/preemption.h"

#include "storage/removal_store.h"
#include "tests/integration/scheduler/fair_share_fixture.h"

namespace finetuned::scheduler {
namespace {

using storage::PreemptionRule;
using testing::ElementsAre;
using testing::IsEmpty;

class PreemptionTest : public FairShareTest {
 protected:
  static std::vector<std::string> preempt(const PreemptionRule& rule = {}) {
    return system([&](Transaction& tx) { return storage::request_preemptions(tx, rule); });
  }

  /// A run of the project's next job that began two minutes ago and has trained so many tokens.
  static JobLease run(std::int64_t trained) {
    const JobLease lease = claim()->lease;
    system([&](Transaction& tx) {
      EXPECT_TRUE(JobLeases(tx).set_progress(lease, 1, 100, trained, std::nullopt));
      tx.execute("UPDATE job SET claimed_at = claimed_at - interval '2 minutes' WHERE id = $1", {lease.job_id});
    });
    return lease;
  }

  /// Queues a job that has waited for so long.
  std::string wait(const std::string& project, const std::string& waited = "2 minutes") {
    const std::string id = queue_one(project);
    age(id, waited);
    return id;
  }

  static bool asked(const JobLease& lease) {
    return system([&](Transaction& tx) { return JobLeases(tx).peek(lease).preempt_requested; });
  }
};

TEST_F(PreemptionTest, AJobMakesRoomForAProjectThatIsKeptWaiting) {
  const std::string taking = make_project(), waiting = make_project();
  queue_one(taking, 10'000);
  const JobLease lease = run(100);
  EXPECT_THAT(preempt(), IsEmpty()) << "nobody waits";
  const std::string theirs = wait(waiting);
  EXPECT_THAT(preempt({.after_seconds = 600}), IsEmpty()) << "not for so long";
  EXPECT_FALSE(asked(lease));
  EXPECT_THAT(preempt(), ElementsAre(lease.job_id));
  EXPECT_TRUE(asked(lease));
  EXPECT_THAT(preempt(), IsEmpty()) << "one that makes room is enough for one that waits";

  EXPECT_EQ(system([&](Transaction& tx) { return JobLeases(tx).release(lease, std::nullopt); }), JobState::kQueued);
  EXPECT_EQ(claim()->job.id, theirs) << "what was freed goes to who waited";
  const auto again = claim();
  EXPECT_EQ(again->job.id, lease.job_id);
  EXPECT_FALSE(asked(again->lease));
}

TEST_F(PreemptionTest, NobodyMakesRoomForAProjectThatHasHadMore) {
  const std::string running = make_project(), waiting = make_project();
  queue_one(waiting, 5'000);
  run_one();
  system([&](Transaction& tx) { tx.execute("UPDATE project_share SET served_at = served_at - interval '1 hour'"); });
  queue_one(running, 10'000);
  wait(waiting);
  const JobLease lease = run(4'000);
  ASSERT_EQ(job(lease.job_id).project_id, running);
  EXPECT_THAT(preempt(), IsEmpty());
  system([&](Transaction& tx) { JobLeases(tx).set_progress(lease, 2, 100, 6'000, std::nullopt); });
  EXPECT_THAT(preempt(), ElementsAre(lease.job_id)) << "by now it is the other one";
}

TEST_F(PreemptionTest, AProjectThatRunsOrWasJustServedIsNotKeptWaiting) {
  const std::string taking = make_project(), waiting = make_project();
  queue_one(taking, 10'000);
  run(5'000);
  queue_one(waiting, 10);
  const JobLease theirs = claim()->lease;
  wait(waiting, "3 hours");
  EXPECT_THAT(preempt(), IsEmpty()) << "one of its jobs runs";
  system([&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).succeed(theirs, "ft:theirs", {}, 10)); });
  EXPECT_THAT(preempt(), IsEmpty()) << "its job ended just now";
}

TEST_F(PreemptionTest, AProjectAtItsQuotaIsNotKeptWaiting) {
  const std::string taking = make_project(), none = make_project(1, 0);
  queue_one(taking, 10'000);
  run(5'000);
  wait(none);
  EXPECT_THAT(preempt(), IsEmpty());
}

TEST_F(PreemptionTest, TheProjectWithMostWorkersByItsWeightGivesUpTheJobWhoseTurnComesLast) {
  const std::string crowd = make_project(1), heavy = make_project(8), waiting = make_project();
  const std::string first = queue_one(crowd, 10'000), urgent = queue_one(crowd, 10'000, 5);
  queue(heavy, {10'000, 10'000});
  std::vector<JobLease> runs;
  for (int i = 0; i < 4; ++i) runs.push_back(run(5'000));
  wait(waiting);
  EXPECT_THAT(preempt(), ElementsAre(first)) << "its least urgent one";
  wait(make_project());
  ASSERT_EQ(preempt().size(), 1u) << "one more waits";
}

TEST_F(PreemptionTest, WhatIsFreedGoesToWhoWaitedThoughOthersQueuedFirst) {
  const std::string crowd = make_project(), waiting = make_project();
  queue(crowd, {90'000, 10'000, 10'000, 10'000});
  const JobLease large = run(1'000);
  run(1'000);
  run(1'000);
  const std::string theirs = wait(waiting, "61 seconds");
  system([&](Transaction& tx) {  // the large one, whose return leaves the project behind the virtual time
    tx.execute("UPDATE job SET turn_at = clock_timestamp() WHERE id = $1", {large.job_id});
  });
  ASSERT_THAT(preempt(), ElementsAre(large.job_id));
  system([&](Transaction& tx) { JobLeases(tx).release(large, std::nullopt); });
  EXPECT_EQ(claim()->job.id, theirs);
}

TEST_F(PreemptionTest, AJobThatMadeRoomIsLeftAloneForAWhile) {
  const std::string taking = make_project(), waiting = make_project();
  const std::string id = queue_one(taking, 100'000);
  const JobLease lease = run(50'000);
  queue(waiting, {10, 10});
  system([](Transaction& tx) { tx.execute("UPDATE job SET queued_at = queued_at - interval '1 hour' WHERE state = 'queued'"); });
  ASSERT_THAT(preempt(), ElementsAre(id));
  storage::SavedState saved{"state-" + id, 1, 50'000};
  system([&](Transaction& tx) {
    storage::RemovalStore(tx).add(taking, saved.object_id, 3'600);
    JobLeases(tx).release(lease, saved);
  });
  ASSERT_TRUE(run_one());
  system([&](Transaction& tx) { storage::QuotaStore(tx).put(waiting, {std::nullopt, 0, std::nullopt, std::nullopt}); });
  const JobLease again = run(60'000);
  ASSERT_EQ(again.job_id, id);
  system([&](Transaction& tx) {
    storage::QuotaStore(tx).put(waiting, {});
    tx.execute("UPDATE project_share SET served_at = served_at - interval '1 hour'");
  });
  EXPECT_THAT(preempt(), IsEmpty());
  EXPECT_THAT(preempt({.pause_seconds = 0}), ElementsAre(id));
}

TEST_F(PreemptionTest, AJobThatHasJustBegunOrIsAboutToEndIsLeftAlone) {
  const std::string taking = make_project(), waiting = make_project();
  queue(taking, {10'000, 10'000});
  const JobLease ending = run(9'000);
  system([&](Transaction& tx) {
    tx.execute("UPDATE job SET estimated_finish = clock_timestamp() + interval '30 seconds' WHERE id = $1", {ending.job_id});
  });
  ASSERT_TRUE(claim());
  wait(waiting);
  EXPECT_THAT(preempt(), IsEmpty());
}

}  // namespace
}  // namespace finetuned::scheduler
