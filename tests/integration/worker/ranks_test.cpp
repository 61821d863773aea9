#include "services/worker/ranks.h"

#include <csignal>
#include <fstream>
#include <thread>

#include "services/scheduler/scheduler.h"
#include "tests/integration/worker/worker_fixture.h"

namespace finetuned::worker {
namespace {

using namespace std::string_literals;

constexpr int kRows = 200;  // in one step: some 4,000 positions, which are several shards

/// The processes that this one began as further ranks.
std::vector<pid_t> ranks_running() {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream in(entry.path() / "cmdline", std::ios::binary);
    const std::string line{std::istreambuf_iterator<char>(in), {}};
    std::ifstream status(entry.path() / "status");
    std::string word;
    while (status >> word && word != "PPid:") continue;
    pid_t parent = 0;
    status >> parent;
    if (parent == getpid() && line.find("\0rank\0--rank\0"s) != std::string::npos)
      found.push_back(std::stoi(entry.path().filename().string()));
  }
  return found;
}

class RanksTest : public WorkerTest {
 protected:
  void take_devices(std::size_t count) {
    options_.devices.assign(count, tensor::DeviceSpec{});
    options_.program = FINETUNED_PROGRAM;
  }
};

TEST_F(RanksTest, GiveTheSameModelAsOne) {
  const auto alone = create_job(settings(3, kRows), kRows);
  run_one();
  take_devices(3);
  const auto together = create_job(settings(3, kRows), kRows);
  run_one();
  for (const auto& created : {alone, together}) ASSERT_EQ(job(created.id).state, JobState::kSucceeded);
  for (const char* name : {"adapter_model.safetensors", "step_metrics.csv"}) {
    EXPECT_NE(result(alone.id, name), "");
    EXPECT_EQ(result(together.id, name), result(alone.id, name)) << name;
  }
  EXPECT_EQ(job(together.id).trained_tokens, job(alone.id).trained_tokens);
  EXPECT_TRUE(ranks_running().empty());
  EXPECT_TRUE(scratch_is_empty());
}

TEST_F(RanksTest, AreNoMoreThanAStepHasShards) {
  take_devices(2);
  options_.program = "/no/such/program";  // which a job of small steps has no need of
  const auto small = create_job(settings(1));
  run_one();
  EXPECT_EQ(job(small.id).state, JobState::kSucceeded);
  const auto large = create_job(settings(1, kRows), kRows);
  run_one();
  EXPECT_EQ(job(large.id).state, JobState::kRunning) << "given up, for the sweep to queue again";
}

TEST_F(RanksTest, OneThatIsKilledCostsAnAttemptAndNoMore) {
  take_devices(2);
  const auto created = create_job(settings(80, kRows), kRows);
  std::jthread worker([&] { run_one(); });
  ASSERT_TRUE(tests::eventually([&] { return job(created.id).step > 0; }, 60));
  const auto ranks = ranks_running();
  ASSERT_EQ(ranks.size(), 1u);
  kill(ranks.front(), SIGKILL);
  worker.join();
  redis::Client redis(tests::redis_address());
  scheduler::Scheduler(tests::pool(), redis, {}).sweep_leases();
  EXPECT_EQ(job(created.id).state, JobState::kQueued);
  EXPECT_EQ(job(created.id).attempts, 1);
  EXPECT_TRUE(ranks_running().empty());
  EXPECT_TRUE(scratch_is_empty());
}

TEST_F(RanksTest, EndAtACancel) {
  take_devices(2);
  const auto created = create_job(settings(80, kRows), kRows);
  std::jthread worker([&] { run_one(); });
  ASSERT_TRUE(tests::eventually([&] { return job(created.id).step > 0; }, 60));
  tests::pool().transact(Scope::project(project_.id),
                         [&](Transaction& tx) { storage::JobStore(tx).request_cancel(created.id); });
  ASSERT_TRUE(tests::eventually([&] { return job(created.id).state == JobState::kCancelled; }, 20));
  worker.join();
  EXPECT_TRUE(ranks_running().empty());
}

TEST_F(RanksTest, RefuseABaseThatChangedSinceItWasRead) {
  take_devices(2);
  const auto created = create_job(settings(1, kRows), kRows);
  ResidentBases aside(1);
  const JobData data = load_job_data(tests::pool(), data_.store(), created, aside, data_.path());
  training::RunConfig config = data.config.run;
  class Nobody final : public training::RunObserver {
    void on_plan(const training::RunPlan&) override {}
    void on_step(const training::StepMetrics&) override {}
    void on_checkpoint(const training::CheckpointWritten&) override {}
    bool stop_requested() override { return false; }
  } nobody;
  const Ranks ranks{.devices = options_.devices,
                    .program = options_.program,
                    .memory_bytes = 0,
                    .base_fingerprint = "of another day"};
  try {
    train_by_ranks(ranks, data, data_.path() / "order", nobody, {});
    ADD_FAILURE() << "it trained";
  } catch (const collective::PeerLost& lost) {
    EXPECT_THAT(lost.what(), testing::HasSubstr("has changed since the worker read it"));
  }
}

}  // namespace
}  // namespace finetuned::worker
