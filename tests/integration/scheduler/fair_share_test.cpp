#include <algorithm>
#include <atomic>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "billing/forecast.h"
#include "storage/removal_store.h"
#include "storage/worker_store.h"
#include "tests/integration/scheduler/fair_share_fixture.h"

namespace finetuned::scheduler {
namespace {

/// Tokens begun by project, and the bound that fair_share.h states for any two of them, checked at every run.
class Shares {
 public:
  explicit Shares(std::map<std::string, std::int64_t> weights) : weights_(std::move(weights)) {}

  void begin(const storage::Job& job) {
    begun_[job.project_id] += static_cast<double>(*job.quoted_tokens);
    largest_[job.project_id] = std::max(largest_[job.project_id], static_cast<double>(*job.quoted_tokens));
  }
  void expect_bound() {
    for (const auto& [a, weight_a] : weights_)
      for (const auto& [b, weight_b] : weights_) {
        const auto per = [](double tokens, std::int64_t weight) { return tokens / static_cast<double>(weight); };
        ASSERT_LE(per(begun_[a], weight_a) - per(begun_[b], weight_b),
                  per(largest_[a], weight_a) + per(largest_[b], weight_b) + 1e-3);
      }
  }
  /// Each project's part of all tokens over the part that its weight stands for.
  std::vector<double> part_of_weight() const {
    double tokens = 0, weights = 0;
    for (const auto& [project, weight] : weights_) tokens += begun_.at(project), weights += static_cast<double>(weight);
    std::vector<double> parts;
    for (const auto& [project, weight] : weights_) parts.push_back(begun_.at(project) / tokens / (static_cast<double>(weight) / weights));
    return parts;
  }

 private:
  std::map<std::string, std::int64_t> weights_;
  std::map<std::string, double> begun_, largest_;
};

std::vector<std::int64_t> sizes(std::mt19937& random, int count, std::int64_t least, std::int64_t most) {
  std::uniform_int_distribution<std::int64_t> size(least, most);
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(count));
  for (auto& one : tokens) one = size(random);
  return tokens;
}

TEST_F(FairShareTest, AmongFiftyProjectsOneWithAThousandJobsHoldsUpNobodysFirstJob) {
  const std::string crowd = make_project();
  queue(crowd, std::vector<std::int64_t>(1'000, 5'000));
  for (int i = 0; i < 30; ++i) ASSERT_EQ(run_one()->project_id, crowd);
  std::set<std::string> others;
  for (int i = 0; i < 49; ++i) {
    const std::string project = make_project();
    queue(project, {1'000, 1'000, 1'000});
    others.insert(project);
  }
  std::set<std::string> served;
  for (int i = 0; i < 49; ++i) {  // one dispatch round
    const auto begun = run_one();
    ASSERT_TRUE(begun);
    EXPECT_TRUE(served.insert(begun->project_id).second) << "nobody is served twice before all were served";
  }
  EXPECT_EQ(served, others);
}

TEST_F(FairShareTest, SharesFollowTheWeightsWhateverTheJobsSizes) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::map<std::string, std::int64_t> weights;
  for (const std::int64_t weight : {1, 2, 4}) {
    const std::string project = make_project(weight);
    weights[project] = weight;
    queue(project, sizes(random, 300, weight == 1 ? 1'000 : 500, weight == 1 ? 3'000 : 1'500));  // counting jobs would not do
  }
  Shares shares(weights);
  for (int i = 0; i < 280; ++i) {
    const auto begun = run_one();
    ASSERT_TRUE(begun);
    shares.begin(*begun);
    ASSERT_NO_FATAL_FAILURE(shares.expect_bound());
  }
  EXPECT_THAT(shares.part_of_weight(), testing::Each(testing::DoubleNear(1, 0.1)));
}

TEST_F(FairShareTest, WhatNobodyWantedCostsNothingAndIdleTimeEarnsNothing) {
  const std::string alone = make_project(), late = make_project();
  queue(alone, std::vector<std::int64_t>(60, 1'000));
  for (int i = 0; i < 30; ++i) ASSERT_EQ(run_one()->project_id, alone);
  queue(late, std::vector<std::int64_t>(60, 1'000));
  std::map<std::string, int> served;
  for (int i = 0; i < 20; ++i) ++served[run_one()->project_id];
  EXPECT_NEAR(served[alone], 10, 1);
  EXPECT_NEAR(served[late], 10, 1);
}

TEST_F(FairShareTest, StandingAsideForAQuotaEarnsNothing) {
  const std::string limited = make_project(1, 1), other = make_project();
  queue(limited, std::vector<std::int64_t>(40, 1'000));
  queue(other, std::vector<std::int64_t>(80, 1'000));
  const auto held = claim();
  ASSERT_TRUE(held);
  ASSERT_EQ(held->job.project_id, limited);
  for (int i = 0; i < 30; ++i) ASSERT_EQ(run_one()->project_id, other) << "the quota is full";
  system([&](Transaction& tx) { storage::QuotaStore(tx).put(limited, {}); });
  std::map<std::string, int> served;
  for (int i = 0; i < 20; ++i) ++served[run_one()->project_id];
  EXPECT_NEAR(served[limited], 10, 1);
}

TEST_F(FairShareTest, AJobCancelledBeforeItsStartCostsNothing) {
  const std::string project = make_project();
  const std::string first = queue_one(project, 7'000), second = queue_one(project, 500);
  tests::pool().transact(Scope::project(project), [&](Transaction& tx) { JobStore(tx).request_cancel(first); });
  EXPECT_EQ(tag(project), 0);
  ASSERT_EQ(claim()->job.id, second);
  EXPECT_EQ(tag(project), 500);
}

TEST_F(FairShareTest, WhatARunDidNotTrainIsGivenBackHoweverItEnds) {
  const std::string project = make_project(4);
  const auto began = [&] {
    queue_one(project, 1'000);
    const double before = tag(project);
    const JobLease lease = claim()->lease;
    EXPECT_EQ(tag(project), before + 250);
    EXPECT_TRUE(system([&](Transaction& tx) { return JobLeases(tx).set_progress(lease, 3, 10, 300, std::nullopt); }));
    return std::pair(lease, before);
  };
  const auto expect_charged = [&](double before, double tokens) { EXPECT_NEAR(tag(project) - before, tokens / 4, 1e-3); };

  const auto [cancelled, before_cancelled] = began();
  system([&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).finish_cancelled(cancelled)); });
  expect_charged(before_cancelled, 300);

  const auto [failed, before_failed] = began();
  system([&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).fail(failed, {"training_diverged", "x", std::nullopt})); });
  expect_charged(before_failed, 300);

  const auto [early, before_early] = began();
  system([&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).succeed(early, "ft:early", {}, 600)); });
  expect_charged(before_early, 600);

  const auto [crashed, before_crash] = began();
  system([&](Transaction& tx) { tx.execute("UPDATE job SET lease_until = clock_timestamp() WHERE id = $1", {crashed.job_id}); });
  EXPECT_EQ(system([](Transaction& tx) { return JobLeases(tx).sweep(3, 10).size(); }), 1u);
  expect_charged(before_crash, 0);
  EXPECT_EQ(claim()->job.id, crashed.job_id);
  expect_charged(before_crash, 1'000);
}

TEST_F(FairShareTest, AJobThatGoesOnIsChargedForTheRest) {
  const std::string project = make_project();
  const std::string id = queue_one(project, 1'000);
  const JobLease lease = claim()->lease;
  system([&](Transaction& tx) {
    storage::RemovalStore(tx).add(project, "state-" + id, 3'600);
    const storage::SavedState saved{"state-" + id, 4, 400};
    EXPECT_EQ(JobLeases(tx).release(lease, saved), JobState::kQueued);
  });
  EXPECT_EQ(tag(project), 400);
  ASSERT_TRUE(claim());
  EXPECT_EQ(tag(project), 1'000);
}

TEST_F(FairShareTest, PriorityComesFirstWithinAProjectAndMeansNothingBetweenThem) {
  const std::string project = make_project(), other = make_project();
  const std::string plain = queue_one(project), low = queue_one(project, 1'000, -1), high = queue_one(project, 1'000, 10),
                    later = queue_one(project);
  const std::string theirs = queue_one(other, 1'000, -10);
  const std::string more = queue_one(other, 1'000, -10);
  std::vector<std::string> order;
  while (const auto begun = run_one()) order.push_back(begun->id);
  EXPECT_THAT(order, testing::ElementsAre(high, theirs, plain, more, later, low));
}

TEST_F(FairShareTest, ALowPriorityGrowsOldAndIsServed) {
  const std::string project = make_project();
  const std::string low = queue_one(project, 1'000, -10);
  age(low, "21 hours");
  queue(project, std::vector<std::int64_t>(5, 1'000), 10);
  EXPECT_EQ(run_one()->id, low);
}

TEST_F(FairShareTest, WorkersThatClaimAtOnceGetNoJobTwiceAndKeepTheShares) {
  constexpr int kWorkers = 8, kClaims = 20;
  std::map<std::string, std::int64_t> weights;
  for (const std::int64_t weight : {1, 3}) {
    const std::string project = make_project(weight);
    weights[project] = weight;
    queue(project, std::vector<std::int64_t>(240, 1'000));
  }
  const auto own = tests::make_pool(kWorkers);
  std::mutex mutex;
  std::map<std::string, int> claims;
  {
    std::vector<std::jthread> workers;
    for (int w = 0; w < kWorkers; ++w)
      workers.emplace_back([&, w] {
        for (int i = 0; i < kClaims; ++i) {
          const auto claimed = own->transact(Scope::system(), [&](Transaction& tx) {
            return JobLeases(tx).claim("worker-" + std::to_string(w), 60);
          });
          const std::lock_guard lock(mutex);
          if (claimed) ++claims[claimed->job.id];
        }
      });
  }
  ASSERT_EQ(claims.size(), static_cast<std::size_t>(kWorkers * kClaims));
  Shares shares(weights);
  const auto order = system([](Transaction& tx) {
    const auto rows = tx.execute("SELECT id FROM job WHERE state = 'running' ORDER BY claimed_at");
    std::vector<storage::Job> jobs;
    for (std::size_t i = 0; i < rows.size(); ++i) jobs.push_back(*JobStore(tx).find(rows.row(i).text("id")));
    return jobs;
  });
  for (const storage::Job& begun : order) {
    EXPECT_EQ(claims[begun.id], 1);
    shares.begin(begun);
    ASSERT_NO_FATAL_FAILURE(shares.expect_bound());
  }
  EXPECT_THAT(shares.part_of_weight(), testing::Each(testing::DoubleNear(1, 0.1)));
}

TEST_F(FairShareTest, AWorkerThatStopsInAClaimHoldsUpTheOthersForSecondsOnly) {
  queue_one(make_project());
  const auto own = tests::make_pool(1);
  std::atomic<bool> locked = false, done = false;
  std::jthread stopped([&] {
    try {
      own->transact(Scope::system(), [&](Transaction& tx) {
        storage::FairShare(tx).lock();
        locked = true;
        while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(10));
        tx.execute("SELECT 1");
      });
      ADD_FAILURE() << "its transaction was ended meanwhile";
    } catch (const std::exception&) {
    }
  });
  while (!locked) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(claim()) << "waits in the database for the lock, shorter than its statement may take";
  done = true;
}

/// The planner, which has no figures of a queue that was filled just now, had all of it read and sorted again for each project.
TEST_F(FairShareTest, AClaimReadsSomeRowsOfEachProjectHoweverLongTheQueueIs) {
  constexpr int kProjects = 20;
  for (int i = 0; i < kProjects; ++i) queue(make_project(), std::vector<std::int64_t>(200, 1'000));
  const auto own = tests::make_pool(1);  // a session without plans of other tests
  const std::int64_t read = own->transact(Scope::system(), [](Transaction& tx) {
    EXPECT_TRUE(JobLeases(tx).claim("worker", 60));
    return tx.execute("SELECT seq_tup_read + idx_tup_fetch AS rows FROM pg_stat_xact_user_tables WHERE relname = 'job'").row(0).integer("rows");
  });
  EXPECT_LE(read, 3 * kProjects);
}

TEST_F(FairShareTest, TheForecastIsTheOrderOfTheClaims) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 5; ++i) {
    const std::string project = make_project(1 << (random() % 4));
    queue(project, sizes(random, 3, 100, 5'000));
    run_one();
    for (int priority = -1; priority <= 1; ++priority) queue(project, sizes(random, 3, 100, 5'000), priority);
  }
  system([](Transaction& tx) { storage::WorkerStore(tx).seen({"worker", "cpu"}); });
  const auto forecast = billing::forecast(system([](Transaction& tx) { return storage::read_queue(tx); }));
  std::int64_t position = 0;
  while (const auto begun = run_one()) EXPECT_EQ(forecast.at(begun->id).position, ++position);
  EXPECT_EQ(forecast.size(), static_cast<std::size_t>(position));
}

TEST_F(FairShareTest, ARunTellsHowFastItsWorkerIs) {
  const std::string project = make_project();
  queue_one(project, 1'000);
  system([](Transaction& tx) { storage::WorkerStore(tx).seen({"fast", "cuda-sm_90"}); });
  const JobLease lease = claim("fast")->lease;
  system([&](Transaction& tx) {
    tx.execute("UPDATE job SET claimed_at = clock_timestamp() - interval '10 seconds' WHERE id = $1", {lease.job_id});
    EXPECT_TRUE(JobLeases(tx).succeed(lease, "ft:measured", {}, 1'000));
  });
  const std::string next = queue_one(project, 2'000);
  const auto view = system([](Transaction& tx) { return storage::read_queue(tx); });
  ASSERT_TRUE(view.speed(model_.name, "cuda-sm_90"));
  EXPECT_NEAR(*view.speed(model_.name, "cuda-sm_90"), 100, 5);
  EXPECT_NEAR(*view.speed(model_.name, "cpu"), 100, 5) << "better than nothing";
  EXPECT_FALSE(view.speed("another", "cpu"));
  const auto forecast = billing::forecast(view).at(next);
  EXPECT_EQ(forecast.reason, billing::WaitReason::kWaitingForWorker);
  ASSERT_TRUE(forecast.start && forecast.finish);
  EXPECT_NEAR(static_cast<double>(*forecast.finish - *forecast.start), 20, 2);
}

}  // namespace
}  // namespace finetuned::scheduler
