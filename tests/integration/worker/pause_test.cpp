#include <fstream>
#include <thread>

#include "billing/settlement.h"
#include "services/scheduler/scheduler.h"
#include "tests/integration/worker/pause_fixture.h"

namespace finetuned::worker {
namespace {

using testing::Contains;
using testing::HasSubstr;

TEST_F(PauseTest, APausedAndResumedJobGivesTheBytesOfOneThatWasNeverStopped) {
  const auto created = create(long_run());
  const auto paused = run_and_pause(created.id, 7);
  ASSERT_EQ(paused.state, JobState::kPaused);
  EXPECT_EQ(paused.attempts, 0);
  EXPECT_FALSE(paused.settled);
  EXPECT_FALSE(paused.worker);
  ASSERT_TRUE(paused.saved);
  EXPECT_GE(paused.saved->step, 7);
  EXPECT_EQ(paused.step, paused.saved->step);
  EXPECT_TRUE(has_object(paused.saved->object_id));
  EXPECT_EQ(balance().held.value, *created.quoted_nano);
  EXPECT_EQ(balance().spent.value, 0);
  EXPECT_EQ(messages(created.id).back(), "The job is paused after step " + std::to_string(paused.step));
  EXPECT_TRUE(scratch_is_empty());
  Worker worker(tests::pool(), data_.store(), options_);
  EXPECT_FALSE(worker.run_one({}));  // nobody's turn

  ask(created.id, &storage::JobStore::resume);
  run_one();
  EXPECT_THAT(messages(created.id), Contains("The run goes on after step " + std::to_string(paused.step)));
  std::vector<std::int64_t> every(static_cast<std::size_t>(job(created.id).total_steps));
  for (std::size_t i = 0; i < every.size(); ++i) every[i] = static_cast<std::int64_t>(i) + 1;
  EXPECT_EQ(steps_told(created.id), every);  // each once, in order
  expect_paid_in_full(created, 1);

  const auto whole = create(long_run());
  run_one();
  expect_bytes_of(created.id, whole.id);
}

TEST_F(PauseTest, AJobThatIsPausedAgainAndAgainGivesTheSameBytesAndLeavesOneState) {
  const auto created = create(long_run());
  std::vector<std::string> states;
  std::int64_t step = 3;
  for (int stop = 0; stop < 3; ++stop) {
    const auto paused = run_and_pause(created.id, step);
    ASSERT_EQ(paused.state, JobState::kPaused);
    states.push_back(paused.saved->object_id);
    step = paused.step + 3;
    ask(created.id, &storage::JobStore::resume);
  }
  sweep_objects();
  EXPECT_FALSE(has_object(states[0]));
  EXPECT_FALSE(has_object(states[1]));
  EXPECT_TRUE(has_object(states[2]));
  run_one();
  EXPECT_EQ(job(created.id).attempts, 0);
  expect_paid_in_full(created, 1);
  sweep_objects();
  EXPECT_FALSE(has_object(states[2]));
  EXPECT_FALSE(job(created.id).saved);
  const auto whole = create(long_run());
  run_one();
  expect_bytes_of(created.id, whole.id);
}

TEST_F(PauseTest, AShutdownHandsTheJobBackWithItsStateAndAnotherWorkerGivesTheSameBytes) {
  const auto created = create(long_run());
  {
    std::jthread worker([&](const std::stop_token& stop) { run_one(stop); });
    ASSERT_TRUE(tests::eventually([&] { return job(created.id).step >= 5; }, 60));
  }
  const auto released = job(created.id);
  ASSERT_EQ(released.state, JobState::kQueued);
  ASSERT_TRUE(released.saved);
  EXPECT_GE(released.saved->step, 5);
  EXPECT_EQ(released.attempts, 0);
  EXPECT_EQ(messages(created.id).back(), "The worker is shutting down; the job goes back to the queue");
  options_.name = "another";
  run_one();
  EXPECT_THAT(messages(created.id), Contains("The run goes on after step " + std::to_string(released.saved->step)));
  expect_paid_in_full(created, 1);
  const auto whole = create(long_run());
  run_one();
  expect_bytes_of(created.id, whole.id);
}

TEST_F(PauseTest, ACancelledPausedJobPaysForItsLastCheckpointAndItsStateGoes) {
  const auto created = create(settings(30, 2));
  {
    std::jthread worker([&] { run_one(); });
    ASSERT_TRUE(tests::eventually([&] { return !checkpoints(created.id).empty(); }, 60));
    ask(created.id, &storage::JobStore::request_pause);
  }
  const auto paused = job(created.id);
  ASSERT_EQ(paused.state, JobState::kPaused);
  for (int time = 0; time < 2; ++time)
    tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
      storage::JobStore(tx).request_cancel(created.id);
      billing::settle_job(tx, created.id);
    });
  const auto done = job(created.id);
  const auto last = checkpoints(created.id).back();
  EXPECT_EQ(done.state, JobState::kCancelled);
  EXPECT_TRUE(done.settled);
  EXPECT_EQ(done.trained_tokens, last.trained_tokens);
  EXPECT_EQ(balance().spent.value, last.trained_tokens * 1'000);
  EXPECT_EQ(balance().held.value, 0);
  EXPECT_EQ(balance().available.value, kCredit - last.trained_tokens * 1'000);
  EXPECT_THAT(ledger_faults(), testing::IsEmpty());
  EXPECT_TRUE(has_object(paused.saved->object_id));
  sweep_objects();
  EXPECT_FALSE(has_object(paused.saved->object_id));
  EXPECT_FALSE(job(created.id).saved);
}

TEST_F(PauseTest, AJobCancelledBeforeItsFirstCheckpointShowsAndPaysNothing) {
  const auto created = create_without_checkpoints();
  const auto paused = run_and_pause(created.id, 2);
  ASSERT_EQ(paused.state, JobState::kPaused);
  ASSERT_THAT(checkpoints(created.id), testing::IsEmpty());
  tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
    storage::JobStore(tx).request_cancel(created.id);
    billing::settle_job(tx, created.id);
  });
  EXPECT_FALSE(job(created.id).trained_tokens);
  EXPECT_EQ(balance().available.value, kCredit);
}

TEST_F(PauseTest, ADamagedStateMeansBeginningAnewAndTheSameBytes) {
  const auto created = create(long_run());
  const auto paused = run_and_pause(created.id, 5);
  ASSERT_TRUE(paused.saved);
  const fs::path file = file_of(paused.saved->object_id);
  ASSERT_TRUE(fs::is_regular_file(file));
  fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
  {
    std::fstream bytes(file, std::ios::binary | std::ios::in | std::ios::out);
    const auto middle = static_cast<std::streamoff>(fs::file_size(file) / 2);
    bytes.seekg(middle);
    const char byte = static_cast<char>(bytes.get() ^ 1);
    bytes.seekp(middle);
    bytes.put(byte);
  }
  ask(created.id, &storage::JobStore::resume);
  run_one();
  EXPECT_THAT(messages(created.id), Contains("The job begins anew: the run cannot go on from its state, which is damaged"));
  EXPECT_EQ(job(created.id).attempts, 0);
  expect_paid_in_full(created, 1);
  const auto whole = create(long_run());
  run_one();
  expect_bytes_of(created.id, whole.id);
}

TEST_F(PauseTest, AStateThatIsGoneMeansBeginningAnew) {
  const auto created = create(long_run());
  const auto paused = run_and_pause(created.id, 5);
  ASSERT_TRUE(paused.saved);
  data_.store().remove(paused.saved->object_id);
  ask(created.id, &storage::JobStore::resume);
  run_one();
  EXPECT_EQ(job(created.id).state, JobState::kSucceeded);
  EXPECT_THAT(messages(created.id), Contains("The job begins anew: the run cannot go on from its state, which is missing"));
  expect_paid_in_full(created, 1);
}

TEST_F(PauseTest, AnotherBaseUnderTheSameNameMeansBeginningAnew) {
  const auto created = create(long_run());
  ASSERT_EQ(run_and_pause(created.id, 5).state, JobState::kPaused);
  tests::write_tiny_model(model_.directory, 2);
  ask(created.id, &storage::JobStore::resume);
  run_one();
  EXPECT_THAT(messages(created.id), Contains(HasSubstr("The job begins anew: the run cannot go on from its state: the base changed")));
  expect_paid_in_full(created, 1);
  const auto whole = create(long_run());
  run_one();
  expect_bytes_of(created.id, whole.id);
}

TEST_F(PauseTest, AJobThatCrashesAtALaterCheckpointGoesOnFromItsState) {
  redis::Client redis(tests::redis_address());
  scheduler::Scheduler scheduler(tests::pool(), redis, {});
  const auto created = create(long_run());
  const auto paused = run_and_pause(created.id, 5);
  ASSERT_TRUE(paused.saved);
  ask(created.id, &storage::JobStore::resume);
  {
    std::jthread worker([&] { run_one(); });
    const auto later = [&] {
      const auto kept = checkpoints(created.id);
      return !kept.empty() && kept.back().step > paused.saved->step;
    };
    ASSERT_TRUE(tests::eventually(later, 60));
    tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE job SET lease_until = clock_timestamp() WHERE id = $1", {created.id});
    });
    ASSERT_TRUE(tests::eventually([&] { return scheduler.sweep_leases(), job(created.id).state == JobState::kQueued; }, 10));
  }
  const auto crashed = job(created.id);
  EXPECT_EQ(crashed.attempts, 1);
  EXPECT_EQ(crashed.step, paused.step);
  ASSERT_TRUE(crashed.saved);
  EXPECT_EQ(crashed.saved->object_id, paused.saved->object_id);
  run_one();
  expect_paid_in_full(created, 1);
  const auto whole = create(long_run());
  run_one();
  expect_bytes_of(created.id, whole.id);
}

TEST_F(PauseTest, AJobPausedInTheQueueBeginsAtItsFirstStep) {
  const auto created = create(settings(2, 4));
  ask(created.id, &storage::JobStore::request_pause);
  EXPECT_EQ(job(created.id).state, JobState::kPaused);
  EXPECT_FALSE(job(created.id).saved);
  ask(created.id, &storage::JobStore::resume);
  run_one();
  expect_paid_in_full(created, 1);
  EXPECT_EQ(steps_told(created.id).front(), 1);
}

TEST_F(PauseTest, AStateThatCannotBeStoredCostsItsStepsAndNoAttempt) {
  const auto created = create_without_checkpoints();
  const fs::path half_written = data_.path() / "objects" / "tmp", away = data_.path() / "objects" / "away";
  {
    std::jthread worker([&] { run_one(); });
    EXPECT_TRUE(tests::eventually([&] { return job(created.id).step >= 3; }, 60));
    fs::rename(half_written, away);  // no new object can be begun
    ask(created.id, &storage::JobStore::request_pause);
  }
  fs::rename(away, half_written);
  const auto paused = job(created.id);
  ASSERT_EQ(paused.state, JobState::kPaused);
  EXPECT_EQ(paused.attempts, 0);
  EXPECT_EQ(paused.step, 0);
  EXPECT_FALSE(paused.saved);
  EXPECT_EQ(events(created.id).back().level, storage::EventLevel::kWarn);
  EXPECT_THAT(messages(created.id).back(), testing::StartsWith("The job is paused after step 0; steps 1 to "));
  ask(created.id, &storage::JobStore::resume);
  run_one();
  expect_paid_in_full(created, 1);
}

}  // namespace
}  // namespace finetuned::worker
