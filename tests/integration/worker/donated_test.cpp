// A donated worker's job, and the check of it by the operator's own worker, with real training.

#include <map>
#include <thread>

#include "base/ids.h"
#include "billing/donation_verdicts.h"
#include "storage/donation_store.h"
#include "storage/named_objects.h"
#include "storage/recheck_store.h"
#include "storage/worker_store.h"
#include "tests/integration/worker/worker_fixture.h"

namespace finetuned::worker {
namespace {

using storage::DonationStore;
using storage::RecheckStore;

class DonatedTest : public WorkerTest {
 protected:
  template <class Work>
  auto system(Work work) {
    return tests::pool().transact(Scope::system(), work);
  }

  DonatedTest() {
    options_.link.flush = std::chrono::milliseconds(20);
    options_.link.peek = std::chrono::milliseconds(20);
    options_.state_seconds = 0;
    options_.state_steps = 2;
    options_.threads = 1;  // tiny steps: more threads would wait for each other
    system([&](Transaction& tx) {
      tx.execute("UPDATE donated_check SET state = 'dropped', lease_until = NULL WHERE state IN ('waiting', 'running')");  // other tests'
      DonationStore(tx).donate(name_, donor_.id);
    });
  }

  static json::object long_run() {
    json::object made = settings(30, 2);  // long enough to be interrupted, on a busy machine too
    made["lora_dropout"] = 0.1;
    return made;
  }
  bool run_donated(const std::stop_token& stop = {}) {
    WorkerOptions options = options_;
    options.name = "theirs";
    options.known_as = name_;
    Worker worker(tests::pool(), data_.store(), options);
    return worker.run_one(stop);
  }
  /// The donated worker trains the job until a state at or after `step` is kept, and then its process dies.
  storage::Job donated_dies(const std::string& id, std::int64_t step) {
    std::jthread worker([&] { run_donated(); });
    EXPECT_TRUE(tests::eventually([&] {
      const auto now = job(id);
      return now.saved && now.saved->step >= step;
    }, 60));
    sweep(id);
    return job(id);
  }
  void sweep(const std::string& id) {
    system([&](Transaction& tx) {
      tx.execute("UPDATE job SET lease_until = clock_timestamp() - interval '1 second' WHERE id = $1 AND state = 'running'", {id});
      storage::JobLeases(tx).sweep(100, 10);
    });
  }
  void open_checks() {
    while (system([](Transaction& tx) { return RecheckStore(tx).open_one(); })) continue;
  }
  std::string check_state() {
    return system([&](Transaction& tx) {
      const auto rows = tx.execute("SELECT c.state, c.detail FROM donated_check c JOIN donated_stretch s ON s.id = c.stretch_id WHERE s.worker = $1"
                                   " ORDER BY c.created_at DESC LIMIT 1", {name_});
      return rows.empty() ? std::string("none") : rows.row(0).text("state") + ": " + rows.row(0).maybe_text("detail").value_or("");
    });
  }
  std::int64_t spendable() {
    return system([&](Transaction& tx) { return billing::Ledger(tx, billing::LedgerName::kPointsMicro).balance(donor_.id).available.value; });
  }
  std::int64_t pending() {
    return system([&](Transaction& tx) { return billing::Ledger(tx, billing::LedgerName::kPointsMicro).escrowed(donor_.id).value; });
  }
  void tamper(const std::string& sql, const std::vector<postgres::Value>& values) {
    tests::make_superuser_pool()->transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("SET LOCAL session_replication_role = replica");
      tx.execute(sql, values);
    });
  }
  /// States of the job that rows name beside the one that it goes on from.
  std::int64_t kept_states(const std::string& id) {
    return system([&](Transaction& tx) {
      return tx.execute("SELECT count(*) AS n FROM donated_evidence WHERE job_id = $1 AND object_id IS NOT NULL", {id}).row(0).integer("n");
    });
  }

  const std::string name_ = "lab-" + base::make_id("w").substr(2);
  const storage::Project donor_ = tests::make_project(tests::pool());
};

TEST_F(DonatedTest, WhatComesOutTheSameVests) {
  const auto created = create_job(long_run(), 40);
  ASSERT_TRUE(run_donated());
  const auto done = job(created.id);
  ASSERT_EQ(done.state, JobState::kSucceeded);
  const std::int64_t earned = *done.trained_tokens;  // a micro-point a token
  EXPECT_EQ(spendable(), earned / 2);
  EXPECT_EQ(pending(), earned - earned / 2);
  EXPECT_GE(kept_states(created.id), 1) << "what a check may begin with is kept";
  EXPECT_FALSE(run_donated()) << "it checks nothing itself";
  open_checks();
  EXPECT_LE(kept_states(created.id), 1) << "its steps are drawn: one state is enough";
  EXPECT_EQ(check_state(), "waiting: ");
  run_one();
  EXPECT_THAT(check_state(), testing::MatchesRegex("agreed: from .* to step .*: the same bits"));
  EXPECT_EQ(spendable(), earned);
  EXPECT_EQ(pending(), 0);
  EXPECT_EQ(kept_states(created.id), 0);
  EXPECT_THAT(ledger_faults(), testing::IsEmpty());
  EXPECT_TRUE(scratch_is_empty());
}

TEST_F(DonatedTest, EachPartOfARunComesOutTheSameWhereverItBegins) {
  const auto created = create_job(long_run(), 40);
  ASSERT_TRUE(run_donated());
  open_checks();
  const auto bounds = system([&](Transaction& tx) {
    return tx.execute("SELECT c.id, s.id AS stretch FROM donated_check c JOIN donated_stretch s ON s.id = c.stretch_id WHERE s.worker = $1", {name_}).row(0).text("id");
  });
  const auto whole = job(created.id);
  // From the beginning to the end, which covers every hash that was told.
  tamper("UPDATE donated_check SET from_step = 0, to_step = $2 WHERE id = $1", {bounds, whole.total_steps});
  run_one();
  EXPECT_THAT(check_state(), testing::StartsWith("agreed: from the job's beginning to step " + std::to_string(whole.total_steps)));
}

TEST_F(DonatedTest, WhatComesOutOtherwiseForfeitsAllAndStopsTheWorker) {
  const auto created = create_job(long_run(), 40);
  ASSERT_TRUE(run_donated());
  const std::int64_t cost = balance().spent.value, got = spendable();
  ASSERT_GT(cost, 0);
  tamper("UPDATE donated_evidence SET sha256 = repeat('0', 64) WHERE job_id = $1", {created.id});
  open_checks();
  run_one();
  EXPECT_THAT(check_state(), testing::StartsWith("disagreed: "));
  EXPECT_EQ(pending(), 0);
  EXPECT_EQ(spendable(), got) << "what had vested at once is spent perhaps";
  EXPECT_EQ(balance().available.value, kCredit) << "its owner got the price back";
  EXPECT_THAT(events(created.id).back().message, testing::HasSubstr("What it cost was given back"));
  EXPECT_THAT(ledger_faults(), testing::IsEmpty());
  create_job(settings(1));
  EXPECT_FALSE(run_donated()) << "it gets no jobs any more";
  const auto entries = system([&](Transaction& tx) {
    return tx.execute("SELECT count(*) AS n FROM audit_log WHERE type = 'worker.stopped' AND project_id = $1", {donor_.id}).row(0).integer("n");
  });
  EXPECT_EQ(entries, 1);
  run_one();
}

TEST_F(DonatedTest, AJobWhosePartWasNotConfirmedEndsInTheRightBytesByAnother) {
  const auto created = create_job(long_run(), 40);
  const auto left = donated_dies(created.id, 45);  // two checkpoints are behind it
  ASSERT_EQ(left.state, JobState::kQueued);
  const auto earned = pending();
  ASSERT_GT(earned, 0);
  ASSERT_FALSE(checkpoints(created.id).empty());
  tamper("UPDATE donated_evidence SET sha256 = repeat('0', 64) WHERE job_id = $1", {created.id});
  open_checks();
  run_one();  // the check: it goes before the job
  EXPECT_THAT(check_state(), testing::StartsWith("disagreed: "));
  const auto back = job(created.id);
  EXPECT_EQ(back.state, JobState::kQueued);
  EXPECT_FALSE(back.saved) << "it begins anew: nobody else had trained anything of it";
  EXPECT_TRUE(checkpoints(created.id).empty());
  EXPECT_EQ(pending(), 0);
  run_one();
  const auto done = job(created.id);
  ASSERT_EQ(done.state, JobState::kSucceeded);
  EXPECT_EQ(done.trained_tokens, created.quoted_tokens);
  EXPECT_EQ(balance().spent.value, *created.quoted_tokens * 1'000) << "no step is billed twice";
  EXPECT_EQ(checkpoints(created.id).size(), 30u);
  EXPECT_THAT(ledger_faults(), testing::IsEmpty());

  const auto whole = create_job(long_run(), 40);
  run_one();
  for (const char* name : {"adapter_model.safetensors", "step_metrics.csv"}) EXPECT_EQ(result(created.id, name), result(whole.id, name)) << name;
}

/// A stopped machine that starts again under another name, say.
TEST_F(DonatedTest, AMachineThatNobodyNamedGetsNoJobsWhereMachinesAreDonated) {
  const auto created = create_job(settings(1));
  WorkerOptions options = options_;
  options.known_as = "stranger-" + base::make_id("w").substr(2);
  Worker stranger(tests::pool(), data_.store(), options);
  EXPECT_FALSE(stranger.run_one({}));
  EXPECT_EQ(job(created.id).state, JobState::kQueued);
  system([&](Transaction& tx) {
    EXPECT_FALSE(DonationStore(tx).is_own(options.known_as));
    EXPECT_TRUE(DonationStore(tx).own(options.known_as));
    EXPECT_FALSE(DonationStore(tx).own(name_)) << "a donated one stays so";
  });
  EXPECT_TRUE(stranger.run_one({}));
  EXPECT_EQ(job(created.id).state, JobState::kSucceeded);
  create_job(settings(1));
  EXPECT_TRUE(system([&](Transaction& tx) { return DonationStore(tx).disown(options.known_as); }));
  EXPECT_FALSE(stranger.run_one({}));
  run_one();
}

/// A claim that was asked for just before is fenced out by the disowning that waits for it.
TEST_F(DonatedTest, AMachineIsNotDisownedInTheMiddleOfItsClaim) {
  const std::string machine = "own-" + base::make_id("w").substr(2);
  system([&](Transaction& tx) { DonationStore(tx).own(machine); });
  const auto free = [&] {
    return system([&](Transaction& tx) { return tx.execute("SELECT FROM own_worker WHERE name = $1 FOR UPDATE SKIP LOCKED", {machine}).affected_rows(); });
  };
  EXPECT_EQ(free(), 1);
  system([&](Transaction& tx) {
    EXPECT_TRUE(DonationStore(tx).is_own(machine));
    EXPECT_EQ(free(), 0);
  });
}

TEST_F(DonatedTest, ADisownedMachineIsFencedOutOfItsRunningJob) {
  const auto created = create_job(long_run(), 40);
  WorkerOptions options = options_;
  options.known_as = "own-" + base::make_id("w").substr(2);
  system([&](Transaction& tx) { DonationStore(tx).own(options.known_as); });
  std::jthread worker([&] {
    Worker own(tests::pool(), data_.store(), options);
    own.run_one({});
  });
  EXPECT_TRUE(tests::eventually([&] { return job(created.id).saved.has_value(); }, 60));
  system([&](Transaction& tx) {
    DonationStore(tx).disown(options.known_as);
    EXPECT_EQ(DonationStore(tx).end_leases(options.known_as), std::vector<std::string>{created.id});
  });
  worker.join();
  EXPECT_EQ(job(created.id).state, JobState::kRunning) << "the sweep has not come by yet";
  sweep(created.id);
  run_one();
  EXPECT_EQ(job(created.id).state, JobState::kSucceeded);
}

/// Nothing changes for whoever takes no machines, and the first donation stops nobody who trains.
TEST_F(DonatedTest, BeforeTheFirstDonationEveryMachineIsTheOperatorsOwn) {
  const std::string here = "here-" + base::make_id("w").substr(2), lent = "lent-" + base::make_id("w").substr(2);
  try {
    tests::make_superuser_pool()->transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("SET LOCAL session_replication_role = replica");
      tx.execute("DELETE FROM donated_worker");
      DonationStore donations(tx);
      EXPECT_TRUE(donations.is_own("anybody"));
      EXPECT_FALSE(donations.any());
      storage::WorkerStore(tx).seen({.name = here + ":1", .device = "cpu", .known_as = here, .engine = ""});
      storage::WorkerStore(tx).seen({.name = lent + ":1", .device = "cpu", .known_as = lent, .engine = ""});
      EXPECT_THAT(donations.own_all_but(lent), testing::AllOf(testing::Contains(here), testing::Not(testing::Contains(lent))));
      EXPECT_TRUE(donations.donate(lent, donor_.id));
      EXPECT_TRUE(donations.is_own(here));
      EXPECT_FALSE(donations.is_own("anybody"));
      std::map<std::string, std::string> whose;
      for (const storage::WorkerRow& row : storage::WorkerStore(tx).list()) whose[row.name] = row.whose;
      EXPECT_EQ(whose[here + ":1"], "own");
      EXPECT_EQ(whose[lent + ":1"], "donated");
      EXPECT_TRUE(donations.any());
      EXPECT_THAT(donations.own_all_but("another"), testing::IsEmpty()) << "the operator names those that come later";
      tx.execute("INSERT INTO own_worker (name) VALUES ($1)", {lent});  // as two commands at once might
      EXPECT_FALSE(donations.is_own(lent)) << "a donated one stays so";
      throw std::runtime_error("undone");
    });
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "undone");
  }
}

/// It would report the figures itself.
TEST_F(DonatedTest, RunsThatDecideOverAContributionAreNotForIt) {
  const auto created = create_job(settings(1));
  const std::string contribution = base::make_id("contrib");
  tamper("INSERT INTO contribution_run (contribution_id, round, seed, side, job_id) VALUES ($1, 1, 1, 'incumbent', $2)", {contribution, created.id});
  EXPECT_FALSE(run_donated());
  EXPECT_EQ(job(created.id).state, JobState::kQueued);
  run_one();
  EXPECT_EQ(job(created.id).state, JobState::kSucceeded);
  tamper("DELETE FROM contribution_run WHERE contribution_id = $1", {contribution});
}

TEST_F(DonatedTest, TheJobGoesBackToWhatAnotherWorkerHadMade) {
  const auto created = create_job(long_run(), 40);
  {
    std::jthread worker([&] { run_one(); });
    EXPECT_TRUE(tests::eventually([&] { return job(created.id).saved.has_value(); }, 60));
    sweep(created.id);
  }
  const auto honest = job(created.id).saved;
  ASSERT_TRUE(honest);
  donated_dies(created.id, honest->step + 10);
  tamper("UPDATE donated_evidence SET sha256 = repeat('0', 64) WHERE job_id = $1", {created.id});
  open_checks();
  run_one();
  ASSERT_THAT(check_state(), testing::StartsWith("disagreed: "));
  ASSERT_TRUE(job(created.id).saved);
  EXPECT_EQ(job(created.id).saved->object_id, honest->object_id);
  run_one();
  EXPECT_EQ(job(created.id).state, JobState::kSucceeded);
  EXPECT_THAT(ledger_faults(), testing::IsEmpty());
}

TEST_F(DonatedTest, ACheckWhoseWorkersDieIsGivenUpAndWaitsForTheOperator) {
  const auto created = create_job(settings(2), 12);
  ASSERT_TRUE(run_donated());
  open_checks();
  const std::string engine = system([&](Transaction& tx) {
    return tx.execute("SELECT engine FROM donated_stretch WHERE worker = $1", {name_}).row(0).text("engine");
  });
  EXPECT_FALSE(system([](Transaction& tx) { return RecheckStore(tx).claim("own", std::string(64, 'f'), 30); })) << "of another class";
  for (int death = 1; death <= RecheckStore::kMostAttempts; ++death) {
    const bool disowned = death == 2, donated = death == 3;
    const std::string machine = "own-" + base::make_id("w").substr(2);
    const auto claimed = system([&](Transaction& tx) { return RecheckStore(tx).claim(machine + ":1", engine, disowned || donated ? 60 : 0); });
    ASSERT_TRUE(claimed) << death;
    system([&](Transaction& tx) {
      storage::WorkerStore(tx).seen({.name = machine + ":1", .device = "cpu", .known_as = machine, .engine = ""});
      if (disowned) DonationStore(tx).end_leases(machine);
      if (donated) {
        EXPECT_TRUE(DonationStore(tx).donate(machine, donor_.id));
      }
    });
    EXPECT_EQ(system([](Transaction& tx) { return RecheckStore(tx).sweep(10); }), 1);
    EXPECT_FALSE(system([&](Transaction& tx) { return billing::agree(tx, *claimed, "too late"); })) << "its lease is over";
    EXPECT_FALSE(system([&](Transaction& tx) { return billing::disagree(tx, *claimed, "too late"); }));
  }
  EXPECT_THAT(check_state(), testing::StartsWith("given_up: "));
  EXPECT_GT(pending(), 0) << "nobody gains by that";
  EXPECT_EQ(system([&](Transaction& tx) { return billing::settle_stretches(tx, name_).size(); }), 1u);
  EXPECT_EQ(pending(), 0);
  EXPECT_EQ(spendable(), *job(created.id).trained_tokens);
  EXPECT_THAT(ledger_faults(), testing::IsEmpty());
}

TEST_F(DonatedTest, AStoppedWorkerIsFencedOutOfItsRunningJob) {
  const auto created = create_job(long_run(), 40);
  std::jthread worker([&] { run_donated(); });
  EXPECT_TRUE(tests::eventually([&] { return job(created.id).saved.has_value(); }, 60));
  system([&](Transaction& tx) {
    DonationStore(tx).stop(name_, "for a test");
    EXPECT_EQ(DonationStore(tx).end_leases(name_).size(), 1u);
  });
  worker.join();
  EXPECT_EQ(job(created.id).state, JobState::kRunning) << "the sweep has not come by yet";
  sweep(created.id);
  EXPECT_EQ(job(created.id).state, JobState::kQueued);
  open_checks();
  run_one();
  EXPECT_THAT(check_state(), testing::StartsWith("agreed: "));
  run_one();
  EXPECT_EQ(job(created.id).state, JobState::kSucceeded);
}

}  // namespace
}  // namespace finetuned::worker
