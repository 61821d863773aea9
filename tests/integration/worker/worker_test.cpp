#include "services/worker/worker.h"

#include <thread>

#include "base/ids.h"
#include "base/sha256.h"
#include "billing/job_statement.h"
#include "billing/settlement.h"
#include "services/worker/job_data.h"
#include "services/scheduler/scheduler.h"
#include "tests/integration/worker/worker_fixture.h"
#include "trainer/formats/peft.h"

namespace finetuned::worker {
namespace {

TEST_F(WorkerTest, TrainsPublishesAndBillsExactly) {
  const auto created = create_job(settings(2));
  ASSERT_EQ(created.state, JobState::kQueued);
  run_one();
  const auto done = job(created.id);
  ASSERT_EQ(done.state, JobState::kSucceeded) << (done.error ? done.error->message : "");
  EXPECT_EQ(done.trained_tokens, created.quoted_tokens);
  EXPECT_TRUE(done.settled);
  EXPECT_EQ(balance().held.value, 0);
  EXPECT_EQ(balance().spent.value, *created.quoted_tokens * 1'000);
  EXPECT_THAT(ledger_faults(), testing::IsEmpty());
  EXPECT_THAT(done.fine_tuned_model.value_or(""), testing::StartsWith("ft:" + model_.name + ":Acme-"));
  EXPECT_THAT(done.fine_tuned_model.value_or(""), testing::HasSubstr(":fruit:" + created.id.substr(6, 8)));
  EXPECT_TRUE(scratch_is_empty());

  ASSERT_EQ(done.result_files.size(), 4u);
  const fs::path adapter = data_.path() / "adapter";
  fs::create_directories(adapter);
  std::vector<std::string> names;
  for (const std::string& id : done.result_files) {
    const auto file = tests::pool().transact(
        Scope::project(project_.id), [&](Transaction& tx) { return *storage::FileStore(tx).find(id); });
    EXPECT_EQ(file.purpose, "fine-tune-results");
    EXPECT_EQ(file.status, storage::FileStatus::kProcessed);
    names.push_back(file.filename);
    objects::fetch_file(data_.store(), file.object_id, adapter / file.filename);
  }
  EXPECT_THAT(names, testing::ElementsAre("adapter_model.safetensors", "adapter_config.json", "step_metrics.csv",
                                          "manifest.json"));
  const auto read = formats::read_adapter(adapter, formats::read_model_config(model_.directory));
  EXPECT_EQ(read.config.rank, 4);
  EXPECT_EQ(read.config.base_model_name_or_path, model_.name);
}

/// trained_tokens = statement = ledger, step by step.
TEST_F(WorkerTest, TheStatementIsWhatEachStepTrainedAndWhatTheLedgerCharged) {
  const auto created = create_job(settings(2));
  run_one();
  tests::pool().transact(Scope::system(), [&](Transaction& tx) {
    const auto done = *storage::JobStore(tx).find(created.id);
    const auto rows = billing::job_statement_rows(tx, done, 0, 1'000);
    ASSERT_EQ(static_cast<std::int64_t>(rows.size()), done.step);
    std::int64_t at = 0, amount = 0;
    for (const auto& event : storage::JobStore(tx).list_events(created.id, {.after = {}, .limit = 1'000, .ascending = true}).data) {
      if (!event.is_metrics) continue;
      const auto& row = rows[static_cast<std::size_t>(at++)];
      EXPECT_EQ(row.step, event.data.at("step").as_int64());
      EXPECT_EQ(row.tokens, event.data.at("tokens").as_int64());
      EXPECT_EQ(row.trained_tokens, event.data.at("trained_tokens").as_int64());
      EXPECT_TRUE(row.checkpoint_id) << "each epoch's end is a checkpoint";
      amount += row.amount.value;
    }
    EXPECT_EQ(rows.back().trained_tokens, done.trained_tokens);
    EXPECT_EQ(amount, billing::job_statement(tx, done).amount.value);
  });
  EXPECT_EQ(balance().spent.value, *created.quoted_tokens * 1'000);
}

TEST_F(WorkerTest, TellsEachStepOnceAndInOrder) {
  const auto created = create_job(settings(3));
  run_one();
  std::int64_t step = 0;
  for (const auto& event : events(created.id)) {
    if (!event.is_metrics) continue;
    const json::object& data = event.data.as_object();
    EXPECT_EQ(data.at("step").as_int64(), ++step);
    for (const char* key : {"train_loss", "train_mean_token_accuracy", "learning_rate", "grad_norm", "tokens_per_second",
                            "gemm_share", "memory_bytes"})
      EXPECT_TRUE(data.at(key).is_double() || data.at(key).is_int64()) << key;
  }
  EXPECT_EQ(step, 9);  // 12 rows in batches of 4, three epochs
  EXPECT_EQ(job(created.id).step, 9);
  EXPECT_EQ(events(created.id).back().message, "The job has successfully completed");
  const auto kept = checkpoints(created.id);
  ASSERT_EQ(kept.size(), 3u);
  EXPECT_EQ(kept.back().step, 9);
  EXPECT_THAT(kept.back().model_name, testing::EndsWith(":ckpt-step-9"));
  EXPECT_EQ(kept.back().objects.size(), 2u);
  EXPECT_EQ(kept.back().sha256.size(), 2u);
}

TEST_F(WorkerTest, GoesOnFromAnOwnModel) {
  const auto first = create_job(settings(1));
  run_one();
  const auto second = create_job(settings(1), 12, *job(first.id).fine_tuned_model);
  run_one();
  EXPECT_EQ(job(second.id).state, JobState::kSucceeded);
}

TEST_F(WorkerTest, ACancelStopsTheRunAndPaysForTheLastCheckpoint) {
  const auto created = create_job(settings(200, 2), 40);
  std::jthread worker([&] { run_one(); });
  ASSERT_TRUE(tests::eventually([&] { return !checkpoints(created.id).empty(); }, 60));
  tests::pool().transact(Scope::project(project_.id),
                         [&](Transaction& tx) { storage::JobStore(tx).request_cancel(created.id); });
  ASSERT_TRUE(tests::eventually([&] { return job(created.id).state == JobState::kCancelled; }, 6));
  worker.join();
  const auto done = job(created.id);
  const auto last = checkpoints(created.id).back();
  EXPECT_TRUE(done.settled);
  EXPECT_LT(last.trained_tokens, *created.quoted_tokens);
  EXPECT_EQ(balance().spent.value, last.trained_tokens * 1'000);
  EXPECT_EQ(balance().held.value, 0);
  EXPECT_THAT(ledger_faults(), testing::IsEmpty());
  EXPECT_TRUE(scratch_is_empty());
}

TEST_F(WorkerTest, AShutdownHandsTheJobBackAndAnotherWorkerEndsIt) {
  const auto created = create_job(settings(30, 2), 40);
  {
    std::jthread worker([&](const std::stop_token& stop) { run_one(stop); });
    ASSERT_TRUE(tests::eventually([&] { return job(created.id).step > 0; }, 60));
  }
  const auto released = job(created.id);
  EXPECT_EQ(released.state, JobState::kQueued);
  EXPECT_EQ(released.attempts, 0);
  EXPECT_FALSE(released.settled);
  run_one();
  const auto done = job(created.id);
  EXPECT_EQ(done.state, JobState::kSucceeded);
  EXPECT_EQ(done.trained_tokens, created.quoted_tokens);
  EXPECT_EQ(balance().spent.value, *created.quoted_tokens * 1'000);
  EXPECT_THAT(ledger_faults(), testing::IsEmpty());
}

TEST_F(WorkerTest, SettingsThatCannotRunFailTheJobAndBillNothing) {
  json::object wrong = settings(1);
  wrong["target_modules"] = json::array{"no_such_proj"};
  const auto created = create_job(wrong);
  run_one();
  const auto failed = job(created.id);
  EXPECT_EQ(failed.state, JobState::kFailed);
  ASSERT_TRUE(failed.error);
  EXPECT_EQ(failed.error->code, "invalid_hyperparameters");
  EXPECT_THAT(failed.error->message, testing::HasSubstr("no_such_proj"));
  EXPECT_EQ(balance().available.value, kCredit);
  EXPECT_EQ(balance().held.value, 0);
}

TEST_F(WorkerTest, AnUnexpectedErrorIsTriedThreeTimesAndThenCrashed) {
  redis::Client redis(tests::redis_address());
  scheduler::Scheduler scheduler(tests::pool(), redis, {});
  const auto created = create_job(settings(1));
  const auto file = tests::pool().transact(
      Scope::system(), [&](Transaction& tx) { return *storage::FileStore(tx).find(created.training_file); });
  data_.store().remove(file.object_id);
  for (int attempt = 1; attempt <= 3; ++attempt) {
    run_one();
    scheduler.sweep_leases();
    EXPECT_EQ(job(created.id).attempts, attempt);
  }
  const auto failed = job(created.id);
  EXPECT_EQ(failed.state, JobState::kFailed);
  EXPECT_EQ(failed.error.value().code, "worker_crashed");
  EXPECT_EQ(balance().available.value, kCredit);
}

TEST_F(WorkerTest, AStaleWorkerChangesNothing) {
  const auto created = create_job(settings(30, 2), 40);
  std::jthread stale([&] { run_one(); });
  ASSERT_TRUE(tests::eventually([&] { return job(created.id).step > 0; }, 60));
  tests::pool().transact(Scope::system(), [&](Transaction& tx) {  // the sweep, were the lease over
    tx.execute("UPDATE job SET state = 'queued', lease_until = NULL, worker = NULL, attempts = attempts + 1"
               " WHERE id = $1",
               {created.id});
  });
  run_one();  // the new owner, beside the stale one
  stale.join();
  const auto done = job(created.id);
  EXPECT_EQ(done.state, JobState::kSucceeded);
  EXPECT_EQ(done.lease_epoch, 2);
  EXPECT_EQ(done.trained_tokens, created.quoted_tokens);
  EXPECT_EQ(balance().spent.value, *created.quoted_tokens * 1'000);
  EXPECT_THAT(ledger_faults(), testing::IsEmpty());
  EXPECT_TRUE(scratch_is_empty());
}

TEST_F(WorkerTest, ASecondJobDoesNotReadItsBaseAgain) {
  Worker worker(tests::pool(), data_.store(), options_);
  std::vector<std::string> manifests;
  for (int i = 0; i < 2; ++i) {
    const auto created = create_job(settings(1));
    ASSERT_TRUE(worker.run_one({}));
    ASSERT_EQ(job(created.id).state, JobState::kSucceeded);
    manifests.push_back(result(created.id, "manifest.json"));
  }
  EXPECT_EQ(worker.resident().reads, 1);
  EXPECT_EQ(worker.resident().bases, 1);
  for (const std::string& manifest : manifests)
    EXPECT_THAT(manifest, testing::HasSubstr(base::sha256_file(fs::path(model_.directory) / "model.safetensors")));
}

TEST_F(WorkerTest, ABaseReplacedInPlaceIsReadAnew) {
  Worker worker(tests::pool(), data_.store(), options_);
  create_job(settings(1));
  ASSERT_TRUE(worker.run_one({}));
  tests::write_tiny_model(model_.directory, 2);
  const auto second = create_job(settings(1));
  ASSERT_TRUE(worker.run_one({}));
  EXPECT_EQ(job(second.id).state, JobState::kSucceeded);
  EXPECT_EQ(worker.resident().reads, 2);
  EXPECT_THAT(result(second.id, "manifest.json"),
              testing::HasSubstr(base::sha256_file(fs::path(model_.directory) / "model.safetensors")));
}

TEST_F(WorkerTest, AKeptBaseMakesRoomForAJobThatFitsWithoutIt) {
  const auto first = create_job(settings(1));
  ResidentBases aside(1);
  const JobData data = load_job_data(tests::pool(), data_.store(), first, aside, data_.path());
  training::RunConfig config = data.config.run;
  config.threads = options_.threads = 1;
  for (const auto& line : training::plan_training(config, data.training, data.validation).memory)
    options_.memory_bytes += line.bytes;
  Worker worker(tests::pool(), data_.store(), options_);
  ASSERT_TRUE(worker.run_one({}));
  model_ = data_.import_tiny_model(tests::pool(), 2);
  const auto second = create_job(settings(1));
  ASSERT_TRUE(worker.run_one({}));
  for (const auto& created : {first, second}) EXPECT_EQ(job(created.id).state, JobState::kSucceeded);
  EXPECT_EQ(worker.resident().evictions, 1);
  EXPECT_EQ(worker.resident().bases, 1);
}

TEST_F(WorkerTest, ReadsTheNextJobsBaseWhileOneRuns) {
  const auto first = create_job(settings(200, 2), 40);
  model_ = data_.import_tiny_model(tests::pool(), 2);
  const auto second = create_job(settings(1));
  Worker worker(tests::pool(), data_.store(), options_);
  std::jthread runs([&](const std::stop_token& stop) { worker.run(stop); });
  ASSERT_TRUE(tests::eventually([&] { return worker.resident().bases == 2; }, 60));
  EXPECT_EQ(job(first.id).state, JobState::kRunning);
  tests::pool().transact(Scope::project(project_.id),
                         [&](Transaction& tx) { storage::JobStore(tx).request_cancel(first.id); });
  ASSERT_TRUE(tests::eventually([&] { return job(second.id).state == JobState::kSucceeded; }, 60));
  EXPECT_EQ(worker.resident().reads, 2);
}

TEST_F(WorkerTest, AShutdownDoesNotWaitForWhatIsReadAhead) {
  const auto first = create_job(settings(200, 2), 40);
  model_ = data_.import_tiny_model(tests::pool(), 2);
  const auto second = create_job(settings(1));
  tests::write_large_model(model_.directory);
  std::chrono::steady_clock::time_point asked;
  {
    Worker worker(tests::pool(), data_.store(), options_);
    std::jthread runs([&](const std::stop_token& stop) { worker.run(stop); });
    ASSERT_TRUE(tests::eventually([&] { return job(first.id).state == JobState::kRunning; }));
    const auto large = fs::file_size(fs::path(model_.directory) / "model.safetensors");
    ASSERT_TRUE(tests::eventually([&] { return worker.resident().bytes > large / 2; })) << "nothing is read ahead";
    asked = std::chrono::steady_clock::now();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - asked, std::chrono::seconds(5));
  EXPECT_EQ(job(first.id).state, JobState::kQueued);
  EXPECT_EQ(job(second.id).state, JobState::kQueued);
}

TEST_F(WorkerTest, ABaseThatCannotBeReadFailsItsOwnJobOnly) {
  const auto first = create_job(settings(30, 2), 40);
  model_ = data_.import_tiny_model(tests::pool(), 2);
  const fs::path weights = fs::path(model_.directory) / "model.safetensors";
  const auto second = create_job(settings(1));
  fs::resize_file(weights, fs::file_size(weights) - 4);
  Worker worker(tests::pool(), data_.store(), options_);
  std::jthread runs([&](const std::stop_token& stop) { worker.run(stop); });
  ASSERT_TRUE(tests::eventually([&] { return job(second.id).state == JobState::kFailed; }, 90));
  EXPECT_EQ(job(first.id).state, JobState::kSucceeded);
  EXPECT_EQ(job(second.id).error.value().code, "invalid_format");
  EXPECT_EQ(worker.resident().bases, 1);
}

}  // namespace
}  // namespace finetuned::worker
