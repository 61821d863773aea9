#include <atomic>
#include <filesystem>
#include <iostream>
#include <map>
#include <random>
#include <thread>

#include "base/log.h"
#include "billing/job_statement.h"
#include "services/metering/metering.h"
#include "services/scheduler/scheduler.h"
#include "tests/integration/billing/books_fixture.h"

/// Many jobs through the real leases, scheduler, settlement and metering, with a trainer that only counts tokens, and workers
/// and owners that interfere at random. FINETUNED_TEST_SIMULATED_JOBS says how many.
namespace finetuned::tests {
namespace {

using postgres::Scope;
using postgres::Transaction;
using storage::JobLeases;
using storage::JobState;
using storage::JobStore;

constexpr int kWorkers = 3;
constexpr int kProjects = 4;

struct Killed {};  ///< the worker is gone: nothing of what it was about to commit happens

/// A worker of one job after another that counts instead of training.
class CountingWorker {
 public:
  CountingWorker(postgres::Pool& database, unsigned seed, std::atomic<int>& kills)
      : pool_(database), random_(seed), kills_(kills) {}

  /// False where nothing is queued.
  bool run_one() {
    const auto claimed = pool_.transact(Scope::system(), [](Transaction& tx) { return JobLeases(tx).claim("counting", 60); });
    if (!claimed) return false;
    lease_ = claimed->lease;
    tokens_after_.clear();
    try {
      train(claimed->job);
    } catch (const Killed&) {
      ++kills_;
      lose_lease();
    }
    return true;
  }

 private:
  bool happens(unsigned in) { return random_() % in == 0; }
  void maybe_killed(unsigned in) {
    if (happens(in)) throw Killed();
  }
  void lose_lease() {
    pool_.transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE job SET lease_until = clock_timestamp() WHERE id = $1 AND lease_epoch = $2 AND state = 'running'",
                 {lease_.job_id, lease_.epoch});
    });
    if (!happens(3)) return;  // a third of the dead write once more
    const bool wrote = pool_.transact(Scope::system(), [&](Transaction& tx) { return commit_checkpoint(tx); });
    EXPECT_FALSE(wrote) << "a worker without its lease committed a checkpoint of " << lease_.job_id;
  }

  /// Steps and their tokens are the job's own, whoever counts them; checkpoints fall anywhere.
  void train(const storage::Job& job) {
    const std::size_t made_of = std::hash<std::string>()(job.id);
    const auto steps = static_cast<std::int64_t>(1 + made_of % 12);
    for (std::int64_t step = 1; step <= steps; ++step) {
      maybe_killed(60);
      const auto beat = pool_.transact(Scope::system(), [&](Transaction& tx) { return JobLeases(tx).peek(lease_); });
      if (!beat.held) return;
      if (beat.cancel_requested) return end([&](JobLeases& leases) { return leases.finish_cancelled(lease_); });
      if (beat.pause_requested) return give_back();
      tokens_after_.push_back(*job.quoted_tokens * step / steps);
      if (happens(60)) return fail("training_diverged");
      if (happens(90)) return fail("internal_error");
      if (happens(2)) checkpoint();
    }
    end([&](JobLeases& leases) {
      const std::int64_t tokens = tokens_after_.back();
      return leases.set_progress(lease_, steps, steps, tokens, std::nullopt) &&
             leases.succeed(lease_, "ft:" + job.id, {}, tokens);
    });
  }

  bool commit_checkpoint(Transaction& tx) {
    if (tokens_after_.empty()) return false;
    const auto step = static_cast<std::int64_t>(tokens_after_.size());
    if (!JobLeases(tx).add_checkpoint(lease_, {step, tokens_after_.back(), "ft:c", boost::json::object{{"step", step}}, {}},
                                      nullptr))
      return false;
    billing::book_usage(tx, lease_.job_id, lease_.epoch, tokens_after_);
    return true;
  }
  void checkpoint() {
    pool_.transact(Scope::system(), [&](Transaction& tx) {
      commit_checkpoint(tx);
      maybe_killed(25);  // before its commit
    });
    maybe_killed(25);  // behind it
  }

  /// The end and its settlement are one commit; one in ten is left open, as by a program that knew no better.
  template <class Ends>
  void end(const Ends& ends) {
    const bool settles = !happens(10);
    pool_.transact(Scope::system(), [&](Transaction& tx) {
      JobLeases leases(tx);
      if (!ends(leases)) return;
      if (find_state(tx) == JobState::kSucceeded) billing::book_usage(tx, lease_.job_id, lease_.epoch, tokens_after_);
      maybe_killed(30);
      if (settles) billing::settle_job(tx, lease_.job_id);
      maybe_killed(30);
    });
  }
  JobState find_state(Transaction& tx) { return JobStore(tx).find(lease_.job_id)->state; }
  void fail(const std::string& code) {
    end([&](JobLeases& leases) { return leases.fail(lease_, {code, "simulated", std::nullopt}); });
  }
  /// Paused, or back to the queue; without a saved state all steps are taken again.
  void give_back() {
    pool_.transact(Scope::system(), [&](Transaction& tx) {
      const auto reached = JobLeases(tx).release(lease_, std::nullopt);
      if (reached == JobState::kCancelled) billing::settle_job(tx, lease_.job_id);
    });
  }

  postgres::Pool& pool_;
  std::mt19937_64 random_;
  std::atomic<int>& kills_;
  storage::JobLease lease_;
  std::vector<std::int64_t> tokens_after_;
};

class SimulationTest : public testing::Test {
 protected:
  SimulationTest() {
    base::start_log("simulation", base::LogLevel::kError);  // hundreds of workers go silent
    for (int i = 0; i < kProjects; ++i) {
      projects_.push_back(make_project(pool()));
      give_credit(pool(), projects_.back(), 1'000'000'000'000);
      files_.push_back(make_counted_file(pool(), projects_.back(), model_, {101, 203, 307}));
    }
  }
  ~SimulationTest() override { std::filesystem::remove_all(directory_); }

  /// Creates jobs, and cancels, pauses and resumes some of them in whatever state they are.
  void own(int jobs) {
    std::mt19937_64 random(7);
    for (int i = 0; i < jobs; ++i) {
      const std::size_t at = random() % kProjects;
      const auto job = pool().transact(Scope::project(projects_[at].id), [&](Transaction& tx) {
        return billing::create_job(tx, new_job(projects_[at], model_, files_[at], static_cast<std::int64_t>(1 + random() % 3)));
      });
      jobs_.push_back(job.id);
      if (random() % 2 == 0)
        interfere(jobs_[jobs_.size() - 1 - random() % std::min<std::size_t>(jobs_.size(), 10)], random() % 3);
    }
    while (unfinished() > 0 && std::chrono::steady_clock::now() < deadline_) {
      resume_paused();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  void interfere(const std::string& id, std::uint64_t how) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      JobStore jobs(tx);
      if (how == 0) {
        const auto job = jobs.request_cancel(id);
        if (is_terminal(job->state)) billing::settle_job(tx, id);
        ++cancels_;
      } else if (how == 1) {
        jobs.request_pause(id);
        ++pauses_;
      } else {
        jobs.resume(id);
      }
    });
  }
  void resume_paused() {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      const auto paused = tx.execute("SELECT id FROM job WHERE state = 'paused'");
      for (std::size_t i = 0; i < paused.size(); ++i)
        JobStore(tx).resume(paused.row(i).text("id"));
    });
  }
  std::int64_t number(const char* sql) {
    return pool().transact(Scope::system(), [&](Transaction& tx) { return tx.execute(sql).row(0).integer("n"); });
  }
  std::int64_t unfinished() { return number("SELECT count(*) AS n FROM job WHERE finished_at IS NULL"); }

  void expect_statements_to_be_the_ledger();

  const std::filesystem::path directory_ = std::filesystem::temp_directory_path() / base::make_id("simulation");
  const storage::BaseModel model_ = make_base_model(pool());
  std::vector<storage::Project> projects_;
  std::vector<storage::File> files_;
  std::vector<std::string> jobs_;
  std::atomic<int> kills_{0}, cancels_{0}, pauses_{0};
  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::now() + std::chrono::seconds(540);
};

void SimulationTest::expect_statements_to_be_the_ledger() {
  std::int64_t sum = 0;
  std::map<JobState, int> ends;
  for (const std::string& id : jobs_)
    pool().transact(Scope::system(), [&](Transaction& tx) {
      const auto job = *JobStore(tx).find(id);
      ++ends[job.state];
      const auto statement = billing::job_statement(tx, job);
      std::int64_t tokens = 0, amount = 0;
      for (const auto& row : billing::job_statement_rows(tx, job, 0, 1'000))
        tokens += row.tokens, amount += row.amount.value;
      EXPECT_EQ(amount, statement.amount.value) << id;
      EXPECT_EQ(statement.waived ? 0 : tokens, job.trained_tokens.value_or(0)) << id;
      if (job.state == JobState::kSucceeded) {
        EXPECT_EQ(statement.amount.value, *job.quoted_nano) << id;
      }
      EXPECT_LE(statement.amount.value, *job.quoted_nano) << id;
      sum += statement.amount.value;
    });
  EXPECT_EQ(sum, number("SELECT coalesce(sum(amount), 0)::bigint AS n FROM transfer WHERE kind = 'post'"));
  EXPECT_EQ(sum, number("SELECT coalesce(sum(debits_posted), 0)::bigint AS n FROM account WHERE kind = 'prepaid'"));
  std::cout << jobs_.size() << " jobs: " << ends[JobState::kSucceeded] << " succeeded, " << ends[JobState::kCancelled]
            << " cancelled, " << ends[JobState::kFailed] << " failed; " << kills_ << " kills, " << cancels_ << " cancels, "
            << pauses_ << " pauses; " << sum << " nano-dollars in statements and ledger\n";
  for (const auto state : {JobState::kSucceeded, JobState::kCancelled, JobState::kFailed})
    EXPECT_GT(ends[state], 0);
}

TEST_F(SimulationTest, KillsAndCancelsAtRandomPointsLeaveNoOrphanHoldAndNoDoublePost) {
  const auto many = make_pool(kWorkers);
  redis::Client redis(redis_address());
  scheduler::Scheduler scheduler(pool(), redis, {});
  metering::Metering metering(pool(), {}, base::SigningKey::load_or_create(directory_ / "signing.key"),
                              billing::HeadFiles(directory_));
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < kWorkers; ++i)
      threads.emplace_back([&, i](const std::stop_token& stop) {
        CountingWorker worker(*many, 1'000 + i, kills_);
        while (!stop.stop_requested())
          if (!worker.run_one()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      });
    threads.emplace_back([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        scheduler.sweep_leases();
        metering.seal();
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    });
    threads.emplace_back([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        const auto done = metering.reconcile();
        for (const auto& fault : done.verification.faults)
          ADD_FAILURE() << "on the way: " << fault.rule << ": " << fault.detail;
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
      }
    });
    own(times("FINETUNED_TEST_SIMULATED_JOBS", 120));
  }
  ASSERT_EQ(unfinished(), 0) << "every job ends";
  metering.reconcile();
  metering.seal();
  EXPECT_EQ(number("SELECT count(*) AS n FROM job WHERE settled_at IS NULL"), 0);
  EXPECT_EQ(number("SELECT count(*) AS n FROM transfer h WHERE h.kind = 'pending' AND (SELECT count(*) FROM transfer r"
                   " WHERE r.pending_id = h.id AND r.kind IN ('post', 'void', 'expire')) <> 1"),
            0)
      << "orphan holds or double posts";
  expect_statements_to_be_the_ledger();
  EXPECT_GT(kills_, 0);
  const auto key = base::SigningKey::load_or_create(directory_ / "signing.key");
  const auto books =
      billing::verify_books(pool(), {.from_files = billing::HeadFiles(directory_).read(), .public_keys = {key.public_key()}});
  for (const auto& fault : books.faults)
    ADD_FAILURE() << fault.rule << ": " << fault.detail;
  EXPECT_EQ(books.unsealed, 0);
}

}  // namespace
}  // namespace finetuned::tests
