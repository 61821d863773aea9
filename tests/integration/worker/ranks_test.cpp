#include "services/worker/ranks.h"

#include <csignal>
#include <fstream>
#include <sys/wait.h>
#include <thread>

#include "services/scheduler/scheduler.h"
#include "tests/integration/worker/worker_fixture.h"

namespace finetuned::worker {
namespace {

using namespace std::string_literals;

constexpr int kRows = 200;  // in one step: some 11,000 positions, which are as many shards as there can be

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

/// Not even one that has ended and was not waited for.
bool no_child_is_left() { return waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD; }

class Nobody final : public training::RunObserver {
  void on_plan(const training::RunPlan&) override {}
  void on_step(const training::StepMetrics&) override {}
  void on_checkpoint(const training::CheckpointWritten&) override {}
  bool stop_requested() override { return false; }
};

std::uint64_t bytes_of(const training::RunPlan& plan) {
  std::uint64_t bytes = 0;
  for (const auto& line : plan.memory) bytes += line.bytes;
  return bytes;
}

class RanksTest : public WorkerTest {
 protected:
  void take_devices(std::size_t count) {
    options_.devices.assign(count, tensor::DeviceSpec{});
    options_.program = FINETUNED_PROGRAM;
  }

  /// A program that does `first`, in sh, and is the real one from then on.
  fs::path program_after(const std::string& first) {
    const fs::path program = data_.path() / "program";
    base::write_durably(program, "#!/bin/sh\n" + first + "\nexec " FINETUNED_PROGRAM " \"$@\"\n");
    fs::permissions(program, fs::perms::owner_all);
    return program;
  }
  /// One that is told `instead` in the place of arguments like `pattern`.
  fs::path program_told(const std::string& pattern, const std::string& instead) {
    return program_after("for word; do shift; case \"$word\" in " + pattern + ") word='" + instead +
                         "';; esac; set -- \"$@\" \"$word\"; done");
  }

  JobData data_of(const storage::Job& created) {
    ResidentBases aside(1);
    return load_job_data(tests::pool(), data_.store(), created, aside, data_.path());
  }
  /// Why two ranks do not train.
  std::string failure_of(const fs::path& program, const std::string& base_fingerprint) {
    const JobData data = data_of(create_job(settings(1, kRows), kRows));
    const Ranks ranks{.devices = options_.devices, .program = program, .memory_bytes = 0, .base_fingerprint = base_fingerprint};
    Nobody nobody;
    try {
      train_by_ranks(ranks, data, data_.path() / "order", nobody, {});
    } catch (const collective::PeerLost& lost) {
      return lost.what();
    }
    return "";
  }

  void cancel(const storage::Job& created) {
    tests::pool().transact(Scope::project(project_.id),
                           [&](Transaction& tx) { storage::JobStore(tx).request_cancel(created.id); });
  }
  void sweep() {
    redis::Client redis(tests::redis_address());
    scheduler::Scheduler(tests::pool(), redis, {}).sweep_leases();
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
  EXPECT_TRUE(no_child_is_left());
  EXPECT_TRUE(scratch_is_empty());
}

TEST_F(RanksTest, AreAsManyAsAStepHasShards) {
  take_devices(8);
  const fs::path begun = data_.path() / "begun";
  base::write_durably(begun, "");
  options_.program = program_after("echo x >> " + begun.string());
  constexpr int kSome = 80;
  const auto small = create_job(settings(1)), large = create_job(settings(1, kSome), kSome);
  const std::int64_t shards = plan_by_ranks(data_of(large), 1).plan.most_shards;
  ASSERT_GT(shards, 1);
  ASSERT_LT(shards, 8);
  run_one();
  EXPECT_EQ(job(small.id).state, JobState::kSucceeded);
  EXPECT_EQ(base::read_file(begun, 100), "");
  run_one();
  EXPECT_EQ(job(large.id).state, JobState::kSucceeded);
  EXPECT_EQ(base::read_file(begun, 100).size(), 2 * static_cast<std::size_t>(shards - 1));
}

TEST_F(RanksTest, AreFewerWhereMoreDoNotFitOrWouldTrainInSmallerPieces) {
  JobData data = data_of(create_job(settings(1, kRows), kRows));
  ASSERT_EQ(plan_by_ranks(data, 3).ranks, 3);
  const std::uint64_t of_two = bytes_of(plan_by_ranks(data, 2).plan), of_one = bytes_of(plan_by_ranks(data, 1).plan);
  ASSERT_GT(of_two, of_one);
  for (const auto& [limit, ranks] : {std::pair(of_two, 2), std::pair(of_two - 1, 1), std::pair(of_one, 1)}) {
    data.config.run.memory_limit_bytes = limit;
    const RanksPlan planned = plan_by_ranks(data, 3);
    EXPECT_EQ(planned.ranks, ranks) << limit;
    EXPECT_LE(bytes_of(planned.plan), limit);
  }
  data.config.run.memory_limit_bytes = of_one / 8;
  EXPECT_THROW(plan_by_ranks(data, 3), base::UsageError);
}

TEST_F(RanksTest, AJobThatFitsOneDeviceTrainsOnIt) {
  take_devices(3);
  options_.program = "/no/such/program";
  const auto created = create_job(settings(1, kRows), kRows);
  options_.memory_bytes = bytes_of(plan_by_ranks(data_of(created), 1).plan);
  run_one();
  EXPECT_EQ(job(created.id).state, JobState::kSucceeded);
}

TEST_F(RanksTest, OneThatRefusesCostsAnAttemptAndNotTheJob) {
  take_devices(2);
  options_.program = program_told("cpu", "gpu");
  const auto created = create_job(settings(1, kRows), kRows);
  run_one();
  EXPECT_EQ(job(created.id).state, JobState::kRunning) << "given up, for the sweep to queue again";
  sweep();
  EXPECT_EQ(job(created.id).state, JobState::kQueued);
  EXPECT_EQ(job(created.id).attempts, 1);
  EXPECT_TRUE(no_child_is_left());
}

TEST_F(RanksTest, OneThatHangsBeforeTheFirstStepHoldsUpNoCancel) {
  take_devices(2);
  options_.program = program_after("kill -STOP $$");
  const auto created = create_job(settings(1, kRows), kRows);
  std::jthread worker([&] { run_one(); });
  ASSERT_TRUE(tests::eventually([] { return ranks_running().size() == 1; }, 30));
  cancel(created);
  EXPECT_TRUE(tests::eventually([&] { return job(created.id).state == JobState::kCancelled; }, 20));
  worker.join();
  EXPECT_TRUE(no_child_is_left());
}

TEST_F(RanksTest, OneThatHangsBeforeTheFirstStepHoldsUpNoShutdown) {
  take_devices(2);
  options_.program = program_after("kill -STOP $$");
  const auto created = create_job(settings(1, kRows), kRows);
  std::stop_source stop;
  std::jthread worker([&] { run_one(stop.get_token()); });
  ASSERT_TRUE(tests::eventually([] { return ranks_running().size() == 1; }, 30));
  stop.request_stop();
  worker.join();
  EXPECT_EQ(job(created.id).state, JobState::kQueued);
  EXPECT_TRUE(no_child_is_left());
}

TEST_F(RanksTest, OneThatHangsLaterHoldsACancelUpForAWhileOnly) {
  take_devices(2);
  const auto created = create_job(settings(80, kRows), kRows);
  std::jthread worker([&] { run_one(); });
  ASSERT_TRUE(tests::eventually([&] { return job(created.id).step > 0; }, 60));
  const auto ranks = ranks_running();
  ASSERT_EQ(ranks.size(), 1u);
  kill(ranks.front(), SIGSTOP);
  cancel(created);
  const auto asked = std::chrono::steady_clock::now();
  worker.join();
  EXPECT_LT(std::chrono::steady_clock::now() - asked, std::chrono::seconds(25));
  sweep();
  EXPECT_EQ(job(created.id).state, JobState::kCancelled);
  EXPECT_TRUE(no_child_is_left());
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
  sweep();
  EXPECT_EQ(job(created.id).state, JobState::kQueued);
  EXPECT_EQ(job(created.id).attempts, 1);
  EXPECT_TRUE(no_child_is_left());
  EXPECT_TRUE(scratch_is_empty());
}

TEST_F(RanksTest, EndAtACancel) {
  take_devices(2);
  const auto created = create_job(settings(80, kRows), kRows);
  std::jthread worker([&] { run_one(); });
  ASSERT_TRUE(tests::eventually([&] { return job(created.id).step > 0; }, 60));
  cancel(created);
  ASSERT_TRUE(tests::eventually([&] { return job(created.id).state == JobState::kCancelled; }, 20));
  worker.join();
  EXPECT_TRUE(no_child_is_left());
}

TEST_F(RanksTest, RefuseABaseThatChangedSinceItWasRead) {
  take_devices(2);
  EXPECT_THAT(failure_of(options_.program, "of another day"), testing::HasSubstr("has changed since the worker read it"));
}

TEST_F(RanksTest, RefuseAnotherDeviceThanTheWorkerMeans) {
  take_devices(2);
  EXPECT_THAT(failure_of(program_told("cpu-*", "another"), ""), testing::HasSubstr("for the worker it is another"));
}

}  // namespace
}  // namespace finetuned::worker
