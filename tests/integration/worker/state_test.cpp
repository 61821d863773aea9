#include <thread>

#include "services/intake/expiry_sweep.h"
#include "tests/integration/worker/worker_fixture.h"

namespace finetuned::worker {
namespace {

constexpr const char* kResults[] = {"adapter_model.safetensors", "adapter_config.json", "step_metrics.csv", "manifest.json"};

/// What a job goes on from where its worker dies without a word.
class StateTest : public WorkerTest {
 protected:
  StateTest() {
    options_.link.flush = std::chrono::milliseconds(20);
    options_.link.peek = std::chrono::milliseconds(20);
    options_.state_seconds = 0;
    options_.state_steps = 1;
  }

  static json::object long_run() {
    json::object made = settings(10, 2);
    made["lora_dropout"] = 0.1;
    return made;
  }

  /// Runs the job until a state at or after `step` is kept, then takes the lease away as if the worker were dead, and
  /// sweeps it. The job as it is then.
  storage::Job run_and_die(const std::string& id, std::int64_t step) {
    std::jthread worker([&] { run_one(); });
    EXPECT_TRUE(tests::eventually([&] {
      const auto now = job(id);
      return now.saved && now.saved->step >= step;
    }, 60));
    tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE job SET lease_until = clock_timestamp() - interval '1 second' WHERE id = $1", {id});
      storage::JobLeases(tx).sweep(100, 10);
    });
    return job(id);
  }

  std::vector<std::int64_t> steps_told(const std::string& id) {
    std::vector<std::int64_t> steps;
    for (const auto& event : events(id))
      if (event.is_metrics) steps.push_back(event.data.at("step").as_int64());
    return steps;
  }
};

TEST_F(StateTest, AJobWhoseWorkersDieGoesOnFromTheLastStateAndGivesTheSameBytes) {
  const auto created = create_job(long_run(), 40);
  std::int64_t step = 3;
  for (int death = 1; death <= 3; ++death) {
    const auto left = run_and_die(created.id, step);
    ASSERT_EQ(left.state, JobState::kQueued);
    ASSERT_TRUE(left.saved);
    EXPECT_EQ(left.attempts, 1) << "death " << death << ": it got further since the one before";
    EXPECT_EQ(left.step, left.saved->step);
    EXPECT_EQ(left.trained_tokens, left.saved->trained_tokens);
    step = left.saved->step + 3;
  }
  run_one();
  const auto done = job(created.id);
  ASSERT_EQ(done.state, JobState::kSucceeded);
  std::vector<std::int64_t> every;
  for (std::int64_t at = 1; at <= done.total_steps; ++at) every.push_back(at);
  EXPECT_EQ(steps_told(created.id), every);  // each once, in order, though some were taken twice
  EXPECT_EQ(done.trained_tokens, created.quoted_tokens);
  EXPECT_EQ(balance().spent.value, *created.quoted_tokens * 1'000);
  EXPECT_THAT(ledger_faults(), testing::IsEmpty());

  const auto whole = create_job(long_run(), 40);
  run_one();
  for (const char* name : kResults) EXPECT_EQ(result(created.id, name), result(whole.id, name)) << name;
}

TEST_F(StateTest, ARunningJobKeepsOneStateAndAnEndedOneNone) {
  const auto created = create_job(long_run(), 40);
  run_and_die(created.id, 8);
  run_one();
  ASSERT_EQ(job(created.id).state, JobState::kSucceeded);
  intake::ExpirySweep sweep(tests::pool(), data_.store(), std::chrono::milliseconds(1));
  sweep.sweep_once();
  sweep.sweep_once();
  EXPECT_FALSE(job(created.id).saved);
  const auto left = tests::pool().transact(Scope::system(), [&](Transaction& tx) {  // one that was being written goes later
    return tx.execute("SELECT count(*) AS left FROM object_removal WHERE project_id = $1 AND due_at <= clock_timestamp()",
                      {project_.id}).row(0).integer("left");
  });
  EXPECT_EQ(left, 0);
}

TEST_F(StateTest, AStaleWorkersStateIsRefused) {
  const auto created = create_job(long_run(), 40);
  run_and_die(created.id, 3);
  const auto before = job(created.id);
  const bool kept = tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
    return storage::JobLeases(tx).save_state({created.id, before.lease_epoch}, {"object-of-nobody", 99, 99});
  });
  EXPECT_FALSE(kept);
  EXPECT_EQ(job(created.id).saved->object_id, before.saved->object_id);
}

}  // namespace
}  // namespace finetuned::worker
