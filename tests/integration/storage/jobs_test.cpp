#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "base/ids.h"
#include "storage/quota_store.h"
#include "tests/integration/storage/jobs_fixture.h"

namespace finetuned {
namespace {

TEST_F(Jobs, AClaimPassesOverProjectsThatHaveTheirRunningJobs) {
  system([&](Transaction& tx) { storage::QuotaStore(tx).put(project.id, {std::nullopt, 1, std::nullopt, std::nullopt}); });
  const std::string first = queue_job(), second = queue_job();
  const storage::Project other = tests::make_project(pool());
  const auto theirs = tests::new_job(other, model, tests::make_file(pool(), other));
  const JobLease lease = claim();
  EXPECT_EQ(lease.job_id, first);
  const auto claim_one = [](Transaction& tx) { return JobLeases(tx).claim("worker-2", 30); };
  EXPECT_FALSE(system(claim_one)) << "the second waits for the first";
  EXPECT_FALSE(system([](Transaction& tx) { return JobLeases(tx).next_base_directory(); }));
  pool().transact(Scope::project(other.id), [&](Transaction& tx) {
    JobStore(tx).insert(theirs);
    JobStore(tx).admit(theirs.id, {1, 1000, 0, std::nullopt});
  });
  const auto passed = system(claim_one);
  ASSERT_TRUE(passed);
  EXPECT_EQ(passed->job.id, theirs.id) << "others go past it";
  system([&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).fail(lease, {"internal_error", "x", std::nullopt})); });
  const auto next = system(claim_one);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->job.id, second);
}

TEST_F(Jobs, OfClaimsAtOnceAsManyWinAsMayRun) {
  system([&](Transaction& tx) { storage::QuotaStore(tx).put(project.id, {std::nullopt, 2, std::nullopt, std::nullopt}); });
  for (int i = 0; i < 8; ++i) queue_job();
  std::atomic<int> won = 0;
  const auto own = tests::make_pool(8);
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < 8; ++i)
      workers.emplace_back([&] {
        won += own->transact(Scope::system(), [](Transaction& tx) { return JobLeases(tx).claim("w", 30).has_value(); });
      });
  }
  EXPECT_EQ(won, 2);
}

TEST_F(Jobs, TheNextBaseIsThatOfTheNextClaim) {
  const auto next = [&] { return system([](Transaction& tx) { return JobLeases(tx).next_base_directory(); }); };
  EXPECT_FALSE(next());
  queue_job();
  const auto first = model;
  model = tests::make_base_model(pool());
  system([&](Transaction& tx) {
    tx.execute("UPDATE base_model SET directory = '/models/second' WHERE name = $1", {model.name});
  });
  queue_job();
  EXPECT_EQ(next(), first.directory);
  claim();
  EXPECT_EQ(next(), "/models/second");
  claim();
  EXPECT_FALSE(next());
}

TEST_F(Jobs, AJobComesBackAsItWent) {
  auto job = tests::new_job(project, model, file);
  job.metadata = boost::json::object{{"team", "claims"}};
  job.integrations = boost::json::array{boost::json::object{{"type", "wandb"}}};
  job.suffix = "triage";
  job.validation_file = file.id;
  pool().transact(Scope::project(project.id), [&](Transaction& tx) { JobStore(tx).insert(job); });
  const auto found = find(job.id);
  EXPECT_EQ(found.state, JobState::kValidatingFiles);
  EXPECT_EQ(found.method, job.method);
  EXPECT_EQ(found.hyperparameters, job.hyperparameters);
  EXPECT_EQ(found.metadata, job.metadata);
  EXPECT_EQ(found.integrations, job.integrations);
  EXPECT_EQ(found.suffix, job.suffix);
  EXPECT_EQ(found.validation_file, job.validation_file);
  EXPECT_EQ(found.seed, job.seed);
  EXPECT_FALSE(found.price_version);
  EXPECT_TRUE(found.result_files.empty());
  pool().transact(Scope::project(project.id), [&](Transaction& tx) {
    JobStore jobs(tx);
    EXPECT_EQ(jobs.list(project.id, {}, boost::json::object{{"team", "claims"}}).data.size(), 1u);
    EXPECT_TRUE(jobs.list(project.id, {}, boost::json::object{{"team", "other"}}).data.empty());
  });
}

TEST_F(Jobs, EightWorkersClaimEachJobOnce) {
  constexpr int kJobs = 48;
  for (int i = 0; i < kJobs; ++i) queue_job();
  std::mutex mutex;
  std::map<std::string, int> claims;
  {
    std::vector<std::jthread> workers;
    for (int w = 0; w < 8; ++w)
      workers.emplace_back([&, w] {
        for (;;) {
          const auto claimed = pool().transact(Scope::system(), [&](Transaction& tx) {
            return JobLeases(tx).claim("worker-" + std::to_string(w), 30);
          });
          if (!claimed) return;
          const std::lock_guard lock(mutex);
          ++claims[claimed->job.id];
        }
      });
  }
  EXPECT_EQ(claims.size(), static_cast<std::size_t>(kJobs));
  for (const auto& [id, count] : claims) EXPECT_EQ(count, 1) << id;
}

TEST_F(Jobs, TheLongestWaitingIsClaimedFirst) {
  const auto first = queue_job();
  const auto second = queue_job();
  EXPECT_EQ(system([&](Transaction& tx) { return JobStore(tx).queued_ids(10); }),
            (std::vector<std::string>{first, second}));
  EXPECT_EQ(claim().job_id, first);
  EXPECT_EQ(claim().job_id, second);
}

TEST_F(Jobs, AStaleLeaseChangesNothing) {
  const auto id = queue_job();
  const JobLease stale = claim();
  expire(id);
  system([](Transaction& tx) { JobLeases(tx).sweep(3, 100); });
  const JobLease fresh = claim();
  ASSERT_EQ(fresh.job_id, id);
  ASSERT_EQ(fresh.epoch, stale.epoch + 1);
  const auto before = find(id);
  system([&](Transaction& tx) {
    JobLeases leases(tx);
    bool there = false;
    EXPECT_FALSE(leases.heartbeat(stale, 30).held);
    EXPECT_FALSE(leases.peek(stale).held);
    EXPECT_FALSE(leases.set_progress(stale, 5, 10, 100, std::nullopt));
    EXPECT_FALSE(leases.append_events(stale, {{storage::EventLevel::kInfo, "stale", nullptr, false}}));
    EXPECT_FALSE(leases.add_checkpoint(stale, {1, 10, "m", boost::json::object{}, {}}, &there));
    EXPECT_FALSE(leases.succeed(stale, "ft:x", {}, 100));
    EXPECT_FALSE(leases.fail(stale, {"internal_error", "x", std::nullopt}));
    EXPECT_FALSE(leases.finish_cancelled(stale));
    EXPECT_FALSE(leases.release(stale, std::nullopt));
  });
  const auto after = find(id);
  EXPECT_EQ(after.state, JobState::kRunning);
  EXPECT_EQ(after.step, before.step);
  EXPECT_EQ(after.lease_epoch, fresh.epoch);
  EXPECT_TRUE(system([&](Transaction& tx) { return JobLeases(tx).heartbeat(fresh, 30); }).held);
  EXPECT_FALSE(system([&](Transaction& tx) { return JobStore(tx).last_checkpoint(id); }));
}

TEST_F(Jobs, AnExpiredLeaseChangesNothingBeforeAnySweep) {
  const auto id = queue_job();
  const JobLease lease = claim();
  expire(id);
  system([&](Transaction& tx) {
    EXPECT_FALSE(JobLeases(tx).heartbeat(lease, 30).held);
    EXPECT_FALSE(JobLeases(tx).set_progress(lease, 1, 2, 3, std::nullopt));
  });
}

TEST_F(Jobs, TheThirdCrashFailsTheJob) {
  const auto id = queue_job();
  for (int crash = 1; crash <= 3; ++crash) {
    claim();
    expire(id);
    const auto swept = system([](Transaction& tx) { return JobLeases(tx).sweep(3, 100); });
    ASSERT_EQ(swept.size(), 1u);
    EXPECT_EQ(swept[0].state, crash < 3 ? JobState::kQueued : JobState::kFailed);
    EXPECT_EQ(find(id).attempts, crash);
  }
  EXPECT_EQ(find(id).error->code, "worker_crashed");
  EXPECT_TRUE(find(id).finished_at);
  EXPECT_TRUE(system([](Transaction& tx) { return JobLeases(tx).sweep(3, 100); }).empty());
}

TEST_F(Jobs, ASweepLeavesLiveLeasesAlone) {
  queue_job();
  claim();
  EXPECT_TRUE(system([](Transaction& tx) { return JobLeases(tx).sweep(3, 100); }).empty());
}

TEST_F(Jobs, ReleaseQueuesAgainWithoutACrash) {
  const auto id = queue_job();
  const auto lease = claim();
  EXPECT_EQ(system([&](Transaction& tx) { return JobLeases(tx).release(lease, std::nullopt); }), JobState::kQueued);
  EXPECT_EQ(find(id).state, JobState::kQueued);
  EXPECT_EQ(find(id).attempts, 0);
  EXPECT_EQ(claim().epoch, lease.epoch + 1);
}

TEST_F(Jobs, CancelIsAtOnceBeforeTheRunAndByTheWorkerInIt) {
  const auto queued = queue_job();
  const auto cancel = [&](const std::string& id) {
    return pool().transact(Scope::project(project.id), [&](Transaction& tx) { return JobStore(tx).request_cancel(id); });
  };
  EXPECT_EQ(cancel(queued)->state, JobState::kCancelled);
  const auto running = queue_job();
  const auto lease = claim();
  EXPECT_EQ(cancel(running)->state, JobState::kRunning);
  EXPECT_TRUE(system([&](Transaction& tx) { return JobLeases(tx).peek(lease); }).cancel_requested);
  EXPECT_TRUE(system([&](Transaction& tx) { return JobLeases(tx).finish_cancelled(lease); }));
  EXPECT_EQ(cancel(running)->state, JobState::kCancelled);
  EXPECT_FALSE(cancel("ftjob-none"));
}

TEST_F(Jobs, ACancelledJobWhoseWorkerDiesIsCancelledBySweep) {
  const auto id = queue_job();
  claim();
  system([&](Transaction& tx) { JobStore(tx).request_cancel(id); });
  expire(id);
  EXPECT_EQ(system([](Transaction& tx) { return JobLeases(tx).sweep(3, 100); })[0].state, JobState::kCancelled);
}

TEST_F(Jobs, AnEventThatIsAddedAgainUnderItsIdIsKeptOnce) {
  const auto id = queue_job();
  const auto lease = claim();
  std::vector<storage::NewEvent> events(2);
  for (auto& event : events) event.id = base::make_id("ftevent");
  for (int tries = 0; tries < 2; ++tries)  // the first one's outcome was not known
    system([&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).append_events(lease, events)); });
  events.resize(3);
  system([&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).append_events(lease, events)); });
  pool().transact(Scope::project(project.id), [&](Transaction& tx) {
    const auto page = JobStore(tx).list_events(id, {.after = std::nullopt, .limit = 10, .ascending = true});
    ASSERT_EQ(page.data.size(), 3u);
    EXPECT_EQ(page.data[0].id, events[0].id);
    EXPECT_EQ(page.data[1].id, events[1].id);
  });
}

TEST_F(Jobs, EventsCheckpointsAndResultsAreKeptInOrder) {
  const auto id = queue_job();
  const auto lease = claim();
  const auto result = tests::make_file(pool(), project);
  system([&](Transaction& tx) {
    JobLeases leases(tx);
    std::vector<storage::NewEvent> events;
    for (int step = 1; step <= 5; ++step)
      events.push_back({storage::EventLevel::kInfo, "Step " + std::to_string(step),
                        boost::json::object{{"step", step}, {"train_loss", 1.5}}, true});
    EXPECT_TRUE(leases.append_events(lease, events));
    EXPECT_TRUE(leases.set_progress(lease, 5, 10, 500, 1'900'000'000));
    bool there = true;
    const storage::NewCheckpoint checkpoint{5, 500, "ft:m:ckpt-step-5", boost::json::object{{"step", 5}}, {{"a", "o"}}, {{"a", "h"}}};
    EXPECT_TRUE(leases.add_checkpoint(lease, checkpoint, &there));
    EXPECT_FALSE(there);
    EXPECT_TRUE(leases.add_checkpoint(lease, checkpoint, &there));
    EXPECT_TRUE(there);
  });
  pool().transact(Scope::project(project.id), [&](Transaction& tx) {
    JobStore jobs(tx);
    const auto page = jobs.list_events(id, {.after = std::nullopt, .limit = 3, .ascending = true});
    ASSERT_EQ(page.data.size(), 3u);
    EXPECT_TRUE(page.has_more);
    EXPECT_EQ(page.data[0].message, "Step 1");
    EXPECT_TRUE(page.data[0].is_metrics);
    EXPECT_EQ(page.data[0].data.at("step").as_int64(), 1);
    const auto rest = jobs.list_events(id, {.after = page.data[2].id, .limit = 3, .ascending = true});
    EXPECT_EQ(rest.data.size(), 2u);
    EXPECT_FALSE(rest.has_more);
    EXPECT_EQ(jobs.list_checkpoints(id, {}).data.size(), 1u);
    EXPECT_EQ(jobs.last_checkpoint(id)->trained_tokens, 500);
    EXPECT_EQ(jobs.last_checkpoint(id)->sha256.at("a"), "h");
    EXPECT_EQ(find(id).estimated_finish, 1'900'000'000);
  });
  system([&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).succeed(lease, "ft:m", {result.id, file.id}, 1000)); });
  const auto done = find(id);
  EXPECT_EQ(done.state, JobState::kSucceeded);
  EXPECT_EQ(done.result_files, (std::vector<std::string>{result.id, file.id}));
  EXPECT_EQ(done.fine_tuned_model, "ft:m");
  EXPECT_EQ(done.trained_tokens, 1000);
  EXPECT_EQ(done.step, 5);  // what it came to, which an early end leaves below the plan
}

}  // namespace
}  // namespace finetuned
