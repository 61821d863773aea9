#include "services/intake/intake.h"
#include "services/worker/exporter.h"
#include "storage/export_store.h"
#include "storage/storage_pauses.h"
#include "tests/integration/platform/failing_store.h"
#include "tests/integration/worker/pause_fixture.h"

namespace finetuned::worker {
namespace {

using tests::FailingStore;

/// Jobs whose storage fails them on their way.
class StorageFaults : public PauseTest {
 protected:
  bool run_one_here() { return worker_.run_one({}); }
  /// Until the job has ended, or it takes too long: the worker's tries are a second and more apart.
  void run_until_ended(const std::string& id) {
    EXPECT_TRUE(tests::eventually(
        [&] {
          run_one_here();
          return storage::is_terminal(job(id).state);
        },
        60));
  }
  FailingStore failing_{data_.store()};
  WorkerOptions faulty_options() {
    WorkerOptions options = options_;
    options.storage.first_retry_seconds = 0;
    return options;
  }
  Worker worker_{tests::pool(), failing_, faulty_options()};
};

TEST_F(StorageFaults, AJobThatCannotReadItsDataWaitsForTheStorage) {
  const auto created = create_job(settings(1));
  const auto held = balance().held.value;
  ASSERT_GT(held, 0);
  failing_.fail(FailingStore::Fault::kUnavailable);
  ASSERT_TRUE(run_one_here());

  const auto paused = job(created.id);
  EXPECT_EQ(paused.state, JobState::kPaused);
  ASSERT_TRUE(paused.storage_pause);
  EXPECT_EQ(paused.attempts, 0) << "no crash of a worker's";
  EXPECT_EQ(balance().held.value, held);
  EXPECT_THAT(messages(created.id), testing::Contains(testing::HasSubstr("storage is unavailable")));
  EXPECT_TRUE(scratch_is_empty());

  EXPECT_FALSE(run_one_here()) << "the storage still fails: nothing is claimed";
  EXPECT_EQ(job(created.id).state, JobState::kPaused);
  failing_.mend();
  run_until_ended(created.id);
  EXPECT_EQ(job(created.id).state, JobState::kSucceeded);
  EXPECT_FALSE(job(created.id).storage_pause);
  expect_paid_in_full(created, 1);
}

TEST_F(StorageFaults, ACheckpointThatDoesNotFitIsWrittenOnceItDoes) {
  const auto whole = create(long_run()), created = create(long_run());
  run_one();
  ASSERT_EQ(job(whole.id).state, JobState::kSucceeded);
  const int objects = data_.object_count();
  failing_.fail_after_commits(1, FailingStore::Fault::kFull);  // in the middle of the first checkpoint's two
  ASSERT_TRUE(run_one_here());
  ASSERT_EQ(job(created.id).state, JobState::kPaused);
  EXPECT_EQ(data_.object_count(), objects) << "half a checkpoint stays nowhere";
  EXPECT_THAT(checkpoints(created.id), testing::IsEmpty());
  failing_.mend();
  run_until_ended(created.id);
  expect_bytes_of(created.id, whole.id);
  expect_paid_in_full(created, 2);
}

TEST_F(StorageFaults, ResultsThatCannotBeStoredLeaveNothing) {
  const auto created = create_job(settings(1));
  failing_.fail_after_commits(2 + 2, FailingStore::Fault::kUnavailable);  // after the checkpoint and two of the results
  ASSERT_TRUE(run_one_here());
  ASSERT_EQ(job(created.id).state, JobState::kPaused);
  const int of_checkpoint = 2, of_dataset = 1;
  EXPECT_EQ(data_.object_count(), of_checkpoint + of_dataset);
  failing_.mend();
  run_until_ended(created.id);
  expect_paid_in_full(created, 1);
}

TEST_F(StorageFaults, OthersJobsAreNotTakenWhileTheStorageFails) {
  const auto first = create_job(settings(1)), second = create_job(settings(1));
  failing_.fail(FailingStore::Fault::kUnavailable);
  ASSERT_TRUE(run_one_here());
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(run_one_here());
  EXPECT_EQ(job(second.id).state, JobState::kQueued);
  run_one();  // of another worker, whose storage works: what waits is queued again first
  EXPECT_EQ(job(first.id).state, JobState::kQueued);
}

TEST_F(StorageFaults, AnOwnersPauseAndCancelHold) {
  const auto paused = create_job(settings(1)), cancelled = create_job(settings(1));
  failing_.fail(FailingStore::Fault::kUnavailable);
  ASSERT_TRUE(run_one_here());
  ASSERT_TRUE(job(paused.id).storage_pause);
  ask(paused.id, &storage::JobStore::request_pause);
  ask(cancelled.id, &storage::JobStore::request_cancel);
  EXPECT_FALSE(job(paused.id).storage_pause);
  failing_.mend();
  EXPECT_FALSE(tests::eventually([&] { return run_one_here(); }, 3));
  EXPECT_EQ(job(paused.id).state, JobState::kPaused);
  ask(paused.id, &storage::JobStore::resume);
  run_until_ended(paused.id);
  EXPECT_EQ(job(paused.id).state, JobState::kSucceeded);
}

TEST_F(StorageFaults, ACancelEndsTheWait) {
  const auto created = create_job(settings(1));
  failing_.fail(FailingStore::Fault::kFull);
  ASSERT_TRUE(run_one_here());
  ask(created.id, &storage::JobStore::request_cancel);
  EXPECT_EQ(job(created.id).state, JobState::kCancelled);
  EXPECT_FALSE(job(created.id).storage_pause);
}

TEST_F(StorageFaults, PausesGrowAndEnd) {
  const auto created = create_job(settings(1));
  const auto pause = [&](const storage::StorageRule& by) {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE job SET state = 'queued' WHERE id = $1 AND state = 'paused'", {created.id});
      const auto claimed = storage::JobLeases(tx).claim("test", 30);
      return storage::StoragePauses(tx).pause(claimed->lease, by);
    });
  };
  const storage::StorageRule by{.first_retry_seconds = 100, .most_retry_seconds = 500, .patience_seconds = 1'000};
  for (const std::int64_t seconds : {100, 200, 400, 500, 500}) {
    ASSERT_EQ(pause(by), JobState::kPaused);
    const auto now = std::time(nullptr);
    EXPECT_NEAR(static_cast<double>(job(created.id).storage_pause->retry_at - now), static_cast<double>(seconds), 5);
  }
  EXPECT_FALSE(tests::pool().transact(Scope::system(), [](Transaction& tx) { return storage::StoragePauses(tx).any_due(); }));
  tests::pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("UPDATE job SET storage_since = storage_since - interval '1 hour' WHERE id = $1", {created.id});
  });
  EXPECT_EQ(pause(by), JobState::kFailed) << "no further for an hour: its patience is over";
  EXPECT_EQ(job(created.id).state, JobState::kRunning) << "for the caller to end";
}

TEST_F(StorageFaults, AJobIsGivenUpUnbilledAfterItsPatience) {
  const auto created = create_job(settings(1));
  WorkerOptions options = faulty_options();
  options.storage.patience_seconds = 0;
  Worker worker(tests::pool(), failing_, options);
  failing_.fail(FailingStore::Fault::kUnavailable);
  ASSERT_TRUE(worker.run_one({}));
  failing_.mend();
  ASSERT_TRUE(tests::eventually([&] { return worker.run_one({}); }, 10));  // queues it again
  failing_.fail(FailingStore::Fault::kUnavailable);
  ASSERT_TRUE(worker.run_one({}));
  const auto failed = job(created.id);
  ASSERT_EQ(failed.state, JobState::kFailed);
  EXPECT_EQ(failed.error->code, "internal_error");
  EXPECT_EQ(balance().held.value, 0);
  EXPECT_EQ(balance().spent.value, 0);
}

TEST_F(StorageFaults, AnExportIsTriedAgainAsOften) {
  const auto created = create_job(settings(1));
  run_one();
  const std::string model = *job(created.id).fine_tuned_model;
  bool queued = false;
  const auto asked = tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
    return *storage::ExportStore(tx, project_.id).ensure(model, "peft", &queued);
  });
  Exporter exporter(tests::pool(), failing_, {.name = "test", .scratch_directory = options_.scratch_directory});
  failing_.fail(FailingStore::Fault::kUnavailable);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(exporter.run_one({}));
  failing_.mend();
  while (exporter.run_one({})) {  // other tests' exports, too
  }
  const auto done = tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
    return *storage::ExportStore(tx, project_.id).find(model, asked.id);
  });
  EXPECT_EQ(done.status, "done");
}

TEST_F(StorageFaults, ADatasetIsCheckedOnceItCanBeRead) {
  const auto file = data_.upload(tests::pool(), project_, tests::chat_dataset(12));
  intake::IntakeOptions options;
  options.owner = "test";
  intake::Intake intake(tests::pool(), failing_, options);
  failing_.fail(FailingStore::Fault::kUnavailable);
  const auto again_at_once = [&] {
    tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE file SET intake_until = clock_timestamp() WHERE id = $1", {file.id});
    });
  };
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(intake.check_one({}));
    EXPECT_FALSE(intake.check_one({})) << "not at once";
    again_at_once();
  }
  failing_.mend();
  EXPECT_TRUE(intake.check_one({}));
  const auto checked =
      tests::pool().transact(Scope::system(), [&](Transaction& tx) { return *storage::FileStore(tx).find(file.id); });
  EXPECT_EQ(checked.status, storage::FileStatus::kProcessed);
}

}  // namespace
}  // namespace finetuned::worker
