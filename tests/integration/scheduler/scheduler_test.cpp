#include "services/scheduler/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "base/ids.h"
#include "billing/admission.h"
#include "billing/ledger.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "storage/outbox_store.h"
#include "storage/redis/stream_reader.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned::scheduler {
namespace {

using postgres::Scope;
using postgres::Transaction;
using storage::JobState;

class SchedulerTest : public testing::Test {
 protected:
  SchedulerTest()
      : redis_(tests::redis_address()), project_(tests::make_project(tests::pool())),
        model_(tests::make_base_model(tests::pool())), scheduler_(tests::pool(), redis_, {}) {
    redis_.command({"FLUSHALL"});
    tests::give_credit(tests::pool(), project_, 1'000'000'000);
    tests::pool().transact(Scope::system(), [](Transaction& tx) {  // what other tests left waiting
      tx.execute("DELETE FROM outbox");
      tx.execute("UPDATE job SET state = 'cancelled', lease_until = NULL, finished_at = clock_timestamp()"
                 " WHERE finished_at IS NULL");
    });
  }

  storage::Job create_job() {
    const auto file = tests::make_counted_file(tests::pool(), project_, model_, std::vector<std::uint32_t>(12, 20));
    return tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
      return billing::create_job(tx, tests::new_job(project_, model_, file));
    });
  }

  storage::Job job(const std::string& id) {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) { return *storage::JobStore(tx).find(id); });
  }

  /// Claims the job as a worker that dies at once.
  void crash_worker(const std::string& id) {
    const auto claimed = tests::pool().transact(
        Scope::system(), [](Transaction& tx) { return storage::JobLeases(tx).claim("dead", 0); });
    ASSERT_TRUE(claimed);
    ASSERT_EQ(claimed->job.id, id);
    scheduler_.sweep_leases();
  }

  std::vector<std::string> stream(const char* name) {
    std::vector<std::string> payloads;
    const auto reply = redis_.command({"XRANGE", name, "-", "+"});
    if (!reply) return payloads;
    for (const redis::Reply& entry : reply->elements) payloads.push_back(entry.elements.at(1).elements.at(1).text);
    return payloads;
  }

  redis::Client redis_;
  storage::Project project_;
  storage::BaseModel model_;
  Scheduler scheduler_;
};

TEST_F(SchedulerTest, RelaysTheOutboxOnceAndInOrder) {
  const auto first = create_job(), second = create_job();
  scheduler_.relay_outbox();
  scheduler_.relay_outbox();
  EXPECT_THAT(stream(storage::kJobsStream), testing::ElementsAre(first.id, second.id));
}

TEST_F(SchedulerTest, KeepsTheOutboxWhileRedisIsAway) {
  const auto created = create_job();
  redis::Address nowhere;
  nowhere.socket = "/nonexistent/redis.sock";
  redis::Client away(nowhere);
  Scheduler cut_off(tests::pool(), away, {});
  cut_off.relay_outbox();
  scheduler_.relay_outbox();
  EXPECT_THAT(stream(storage::kJobsStream), testing::ElementsAre(created.id));
}

TEST_F(SchedulerTest, AdmitsAJobOnceItsFileIsCounted) {
  const auto file = tests::make_file(tests::pool(), project_);
  const auto waiting = tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
    return billing::create_job(tx, tests::new_job(project_, model_, file));
  });
  EXPECT_EQ(waiting.state, JobState::kValidatingFiles);
  scheduler_.admit_waiting();
  EXPECT_EQ(job(waiting.id).state, JobState::kValidatingFiles);
  const std::string counted = "UPDATE file SET status = 'processed' WHERE id = $1";
  tests::pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute(counted, {file.id});
    tx.execute("INSERT INTO file_tokens (file_id, tokenizer_fingerprint, project_id, row_count, tokens,"
               " supervised_tokens, longest_tokens, longest_line, row_tokens)"
               " VALUES ($1, $2, $3, 1, 10, 5, 10, 1, '\\x0a000000')",
               {file.id, model_.tokenizer_fingerprint, project_.id});
  });
  scheduler_.admit_waiting();
  const auto admitted = job(waiting.id);
  EXPECT_EQ(admitted.state, JobState::kQueued);
  EXPECT_EQ(admitted.quoted_tokens, 10);
  scheduler_.relay_outbox();
  EXPECT_THAT(stream(storage::kJobsStream), testing::Contains(waiting.id));
}

TEST_F(SchedulerTest, QueuesADeadWorkersJobAgainAndFailsItAtTheThirdCrash) {
  const auto created = create_job();
  crash_worker(created.id);
  EXPECT_EQ(job(created.id).state, JobState::kQueued);
  EXPECT_EQ(job(created.id).attempts, 1);
  crash_worker(created.id);
  crash_worker(created.id);
  const auto failed = job(created.id);
  EXPECT_EQ(failed.state, JobState::kFailed);
  ASSERT_TRUE(failed.error);
  EXPECT_EQ(failed.error->code, "worker_crashed");
  EXPECT_TRUE(failed.settled);
  const auto balance = tests::pool().transact(
      Scope::system(), [&](Transaction& tx) { return billing::Ledger(tx).balance(project_.id); });
  EXPECT_EQ(balance.available.value, 1'000'000'000);
  EXPECT_EQ(balance.held.value, 0);
}

TEST_F(SchedulerTest, FillsAFlushedStreamAgainFromPostgres) {
  const auto first = create_job(), second = create_job();
  scheduler_.relay_outbox();
  scheduler_.rebuild_streams();
  redis_.command({"FLUSHALL"});
  scheduler_.rebuild_streams();
  scheduler_.rebuild_streams();  // the second time it is all there
  EXPECT_THAT(stream(storage::kJobsStream), testing::ElementsAre(first.id, second.id));
}

TEST_F(SchedulerTest, AFlushWakesReadersForWhatTheyMissed) {
  SchedulerOptions quick;
  quick.sweep_pause = std::chrono::milliseconds(200);
  Scheduler role(tests::pool(), redis_, quick);
  std::jthread thread([&](const std::stop_token& stop) { role.run(stop); });
  std::atomic<int> wakes = 0;
  redis::StreamReaderOptions options;
  options.address = tests::redis_address();
  options.stream = storage::kJobsStream;
  options.group = "workers";
  options.consumer = base::make_id("reader");
  const redis::StreamReader reader(options, [&](const std::string&) { ++wakes; });
  EXPECT_TRUE(tests::eventually([&] { return wakes > 0; }));
  redis_.command({"FLUSHALL"});
  const int before = wakes;
  create_job();
  EXPECT_TRUE(tests::eventually([&] { return wakes > before; }, 10));
}

TEST_F(SchedulerTest, SeveralSchedulersDoEachThingOnce) {
  std::vector<std::string> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(create_job().id);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([] {
        redis::Client own(tests::redis_address());
        Scheduler scheduler(tests::pool(), own, {});
        for (int round = 0; round < 10; ++round) scheduler.relay_outbox();
      });
  }
  scheduler_.relay_outbox();
  EXPECT_THAT(stream(storage::kJobsStream), testing::ElementsAreArray(ids));
}

}  // namespace
}  // namespace finetuned::scheduler
