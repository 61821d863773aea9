#include "services/scheduler/scheduler.h"
#include "storage/worker_store.h"
#include "tests/integration/worker/pause_fixture.h"

namespace finetuned::worker {
namespace {

using testing::Contains;

class PreemptionTest : public PauseTest {
 protected:
  PreemptionTest() {
    tests::pool().transact(Scope::system(), [](Transaction& tx) {
      tx.execute("DELETE FROM project_share");
      tx.execute("DELETE FROM worker");
      tx.execute("UPDATE share_clock SET tag = 0");
    });
    tests::give_credit(tests::pool(), other_, kCredit);
  }

  /// A job of the other project, as though it had waited for minutes.
  storage::Job other_waits() {
    std::swap(project_, other_);
    const auto created = create_job(settings(1), 12);
    std::swap(project_, other_);
    tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE job SET queued_at = queued_at - interval '5 minutes' WHERE id = $1", {created.id});
    });
    return created;
  }

  /// Tells the run's age to the scheduler, which leaves what has just begun alone.
  void grow_old(const std::string& id) {
    tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE job SET claimed_at = claimed_at - interval '5 minutes', estimated_finish = NULL WHERE id = $1", {id});
    });
  }

  storage::Project other_ = tests::make_project(tests::pool());
};

TEST_F(PreemptionTest, AJobThatMadeRoomGoesOnBehindTheOtherAndGivesTheSameBytesAndBill) {
  redis::Client redis(tests::redis_address());
  scheduler::Scheduler scheduler(tests::pool(), redis, {.preemption = {.after_seconds = 60, .pause_seconds = 1'200}});
  json::object longer = long_run();
  longer["n_epochs"] = 30;
  const auto created = create(longer);
  storage::Job theirs;
  {
    std::jthread worker([&] { run_one(); });
    ASSERT_TRUE(tests::eventually([&] { return job(created.id).step >= 5; }, 60));
    theirs = other_waits();
    grow_old(created.id);
    // A step's event may come between and say that the run ends soon.
    ASSERT_TRUE(tests::eventually([&] { return grow_old(created.id), scheduler.preempt(), job(created.id).state == JobState::kQueued; }, 30));
  }
  const auto stopped = job(created.id);
  ASSERT_TRUE(stopped.saved);
  EXPECT_EQ(stopped.attempts, 0);
  EXPECT_EQ(messages(created.id).back(), "The job makes room for another project, which has had less than its share; it is queued"
                                         " again and goes on after step " + std::to_string(stopped.saved->step));
  run_one();
  EXPECT_EQ(job(theirs.id).state, JobState::kSucceeded) << "it was their turn";
  run_one();
  EXPECT_THAT(messages(created.id), Contains("The run goes on after step " + std::to_string(stopped.saved->step)));
  expect_paid_in_full(created, 1);

  const auto whole = create(longer);
  run_one();
  expect_bytes_of(created.id, whole.id);
}

TEST_F(PreemptionTest, AWorkerTellsThatItWaitsAndThatItGoes) {
  std::stop_source stop;
  const auto workers = [] {
    return tests::pool().transact(Scope::system(), [](Transaction& tx) { return storage::WorkerStore(tx).list(); });
  };
  {
    Worker worker(tests::pool(), data_.store(), options_);
    const std::jthread thread([&] { worker.run(stop.get_token()); });
    EXPECT_TRUE(tests::eventually([&] {
      const auto known = workers();
      return known.size() == 1 && known[0].alive && known[0].name == options_.name && known[0].device.starts_with("cpu") && !known[0].job_id;
    }));
    stop.request_stop();
  }
  EXPECT_THAT(workers(), testing::IsEmpty());
}

}  // namespace
}  // namespace finetuned::worker
