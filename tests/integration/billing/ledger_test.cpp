#include "billing/credit_limits.h"
#include "billing/ledger.h"
#include "billing/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <map>
#include <random>
#include <thread>

#include "base/ids.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"
#include "storage/job_store.h"

namespace finetuned {
namespace {

using billing::InsufficientFunds;
using billing::Ledger;
using billing::TransferConflict;
using postgres::Scope;
using postgres::Transaction;
using tests::pool;

class LedgerTest : public testing::Test {
 protected:
  storage::Project project = tests::make_project(pool());
  storage::BaseModel model = tests::make_base_model(pool());
  storage::File file = tests::make_file(pool(), project);

  template <class Work>
  auto in_project(Work work) {
    return pool().transact(Scope::project(project.id), work);
  }

  /// A job in validating_files, for holds to name.
  std::string make_job() {
    const auto job = tests::new_job(project, model, file);
    in_project([&](Transaction& tx) { storage::JobStore(tx).insert(job); });
    return job.id;
  }

  billing::Balance balance() {
    return in_project([&](Transaction& tx) { return Ledger(tx).balance(project.id); });
  }

  /// Faults but I4: here holds have no life beyond this test's own transfers.
  std::vector<billing::LedgerFault> faults() {
    auto verification = pool().transact(Scope::system(), billing::verify_ledger);
    std::erase_if(verification.faults, [](const auto& fault) { return fault.rule == "I4"; });
    return verification.faults;
  }
};

TEST_F(LedgerTest, HoldPostAndReleaseMoveWhatTheySay) {
  const std::string job = make_job();
  const std::string hold = base::make_uuid(), second = base::make_uuid();
  tests::give_credit(pool(), project, 1000);
  in_project([&](Transaction& tx) {
    Ledger ledger(tx);
    EXPECT_TRUE(ledger.hold(hold, project.id, {600}, job, 1));
    EXPECT_TRUE(ledger.hold(second, project.id, {400}, job, 1));
    EXPECT_EQ(ledger.balance(project.id).available.value, 0);
    EXPECT_TRUE(ledger.post(base::make_uuid(), hold, {250}, "trained"));
    EXPECT_TRUE(ledger.release(base::make_uuid(), second, "cancelled"));
  });
  const auto after = balance();
  EXPECT_EQ(after.credited.value, 1000);
  EXPECT_EQ(after.spent.value, 250);
  EXPECT_EQ(after.held.value, 0);
  EXPECT_EQ(after.available.value, 750);
  const auto page = in_project([&](Transaction& tx) { return Ledger(tx).list(project.id, {.after = {}, .limit = 2}); });
  ASSERT_EQ(page.data.size(), 2u);
  EXPECT_TRUE(page.has_more);
  EXPECT_EQ(page.data[0].kind, billing::TransferKind::kVoid);
  EXPECT_EQ(page.data[1].kind, billing::TransferKind::kPost);
  EXPECT_EQ(page.data[1].pending_id, hold);
  EXPECT_THROW(in_project([&](Transaction& tx) { return Ledger(tx).list(project.id, {.after = "'; --"}); }), base::ApiError);
  EXPECT_TRUE(faults().empty());
}

TEST_F(LedgerTest, TheSameTransferTwiceMovesMoneyOnce) {
  const std::string job = make_job();
  const std::string credit = base::make_uuid(), hold = base::make_uuid(), post = base::make_uuid();
  for (int i = 0; i < 2; ++i)
    in_project([&](Transaction& tx) {
      Ledger ledger(tx);
      EXPECT_EQ(ledger.credit(credit, project.id, {1000}, "gift"), i == 0);
      EXPECT_EQ(ledger.hold(hold, project.id, {600}, job, 1), i == 0);
      EXPECT_EQ(ledger.post(post, hold, {500}, "trained"), i == 0);
    });
  EXPECT_EQ(balance().available.value, 500);
  EXPECT_EQ(balance().spent.value, 500);
  EXPECT_THROW(in_project([&](Transaction& tx) { Ledger(tx).credit(credit, project.id, {999}, "gift"); }), TransferConflict);
  EXPECT_THROW(in_project([&](Transaction& tx) { Ledger(tx).release(base::make_uuid(), hold, "again"); }), TransferConflict);
  EXPECT_THROW(in_project([&](Transaction& tx) { Ledger(tx).post(base::make_uuid(), base::make_uuid(), {1}, "none"); }),
               TransferConflict);
  EXPECT_TRUE(faults().empty());
}

/// The message of a refused transfer.
template <class Work>
std::string conflict(const Work& work) {
  try {
    work();
  } catch (const TransferConflict& error) {
    return error.what();
  }
  return "went through";
}

TEST_F(LedgerTest, AnotherBodyUnderAnIdIsRefusedAndSaysWhatDiffers) {
  const std::string job = make_job(), other_job = make_job();
  const std::string credit = base::make_uuid(), hold = base::make_uuid(), post = base::make_uuid();
  const auto other = tests::make_project(pool());
  in_project([&](Transaction& tx) {
    Ledger ledger(tx);
    ledger.credit(credit, project.id, {1000}, "gift");
    ledger.hold(hold, project.id, {600}, job, 1);
    ledger.post(post, hold, {500}, "trained");
  });
  const auto refused = [&](auto work) {
    return conflict([&] {
      pool().transact(Scope::system(), [&](Transaction& tx) {
        Ledger ledger(tx);
        work(ledger);
      });
    });
  };
  using testing::HasSubstr;
  EXPECT_THAT(refused([&](Ledger& l) { l.credit(credit, project.id, {999}, "gift"); }), HasSubstr("amount 1000, not 999"));
  EXPECT_THAT(refused([&](Ledger& l) { l.credit(credit, project.id, {1000}, "Gift"); }),
              HasSubstr("reason 'gift', not 'Gift'"));
  EXPECT_THAT(refused([&](Ledger& l) { l.credit(credit, other.id, {1000}, "gift"); }), HasSubstr("project"));
  EXPECT_THAT(refused([&](Ledger& l) { l.credit(hold, project.id, {600}, "gift"); }), HasSubstr("kind pending, not single"));
  EXPECT_THAT(refused([&](Ledger& l) { l.hold(hold, project.id, {600}, other_job, 1); }), HasSubstr("job"));
  EXPECT_THAT(refused([&](Ledger& l) { l.hold(hold, project.id, {5'000'000}, job, 1); }), HasSubstr("amount 600, not 5000000"))
      << "though the account lacks it too";
  EXPECT_THAT(refused([&](Ledger& l) { l.post(post, hold, {499}, "trained"); }), HasSubstr("amount 500, not 499"));
  EXPECT_THAT(refused([&](Ledger& l) { l.post(base::make_uuid(), hold, {499}, "trained"); }),
              HasSubstr("resolved already by " + post));
  EXPECT_THAT(conflict([&] {
                pool().transact(Scope::project(other.id),
                                [&](Transaction& tx) { Ledger(tx).credit(credit, other.id, {1000}, "gift"); });
              }),
              HasSubstr("is taken"))
      << "a project learns no more of another's transfer";
  EXPECT_EQ(balance().available.value, 500);
  EXPECT_TRUE(faults().empty());
}

TEST_F(LedgerTest, ACorrectionNamesWhatItCorrectsAndNeverExceedsIt) {
  const std::string job = make_job(), hold = base::make_uuid(), post = base::make_uuid(), credit = base::make_uuid();
  const std::string first = base::make_uuid(), second = base::make_uuid(), back = base::make_uuid();
  const auto refused = [&](auto work) {
    return conflict([&] {
      in_project([&](Transaction& tx) {
        Ledger ledger(tx);
        work(ledger);
      });
    });
  };
  in_project([&](Transaction& tx) {
    Ledger ledger(tx);
    ledger.credit(credit, project.id, {1000}, "gift");
    ledger.hold(hold, project.id, {600}, job, 1);
    ledger.post(post, hold, {500}, "trained");
    EXPECT_TRUE(ledger.correct(first, post, {300}, "twice too much"));
    EXPECT_FALSE(ledger.correct(first, post, {300}, "twice too much"));
  });
  EXPECT_EQ(balance().available.value, 800);
  using testing::HasSubstr;
  EXPECT_THAT(refused([&](Ledger& l) { l.correct(first, post, {299}, "twice too much"); }), HasSubstr("amount 300, not 299"));
  EXPECT_THAT(refused([&](Ledger& l) { l.correct(second, post, {201}, "more"); }), HasSubstr("what is left"));
  EXPECT_THAT(refused([&](Ledger& l) { l.correct(second, hold, {1}, "a hold"); }), HasSubstr("is a pending"));
  EXPECT_THAT(refused([&](Ledger& l) { l.correct(second, base::make_uuid(), {1}, "none"); }), HasSubstr("no transfer"));
  in_project([&](Transaction& tx) {
    Ledger ledger(tx);
    EXPECT_TRUE(ledger.correct(back, first, {100}, "not so much"));
    EXPECT_TRUE(ledger.correct(second, post, {200}, "all of it after all"));
    EXPECT_EQ(ledger.find(second)->corrects_id, post);
    EXPECT_EQ(ledger.find(second)->job_id, job);
  });
  EXPECT_EQ(balance().available.value, 900);
  EXPECT_THROW(in_project([&](Transaction& tx) { Ledger(tx).correct(base::make_uuid(), credit, {901}, "it was spent"); }),
               InsufficientFunds);
  in_project([&](Transaction& tx) { EXPECT_TRUE(Ledger(tx).correct(base::make_uuid(), credit, {900}, "a gift too many")); });
  EXPECT_EQ(balance().available.value, 0);
  EXPECT_TRUE(faults().empty());
}

TEST_F(LedgerTest, AHoldExpiresOnceAndWhole) {
  const std::string job = make_job(), hold = base::make_uuid(), expiry = base::make_uuid();
  tests::give_credit(pool(), project, 1000);
  in_project([&](Transaction& tx) {
    Ledger ledger(tx);
    ledger.hold(hold, project.id, {600}, job, 1);
    EXPECT_TRUE(ledger.expire(expiry, hold, "out of time"));
    EXPECT_FALSE(ledger.expire(expiry, hold, "out of time"));
    EXPECT_EQ(ledger.find(expiry)->kind, billing::TransferKind::kExpire);
    EXPECT_EQ(ledger.find(expiry)->amount.value, 600);
  });
  EXPECT_EQ(balance().available.value, 1000);
  EXPECT_TRUE(faults().empty());
}

TEST_F(LedgerTest, PointsAreALedgerOfTheirOwn) {
  const std::string job = make_job(), hold = base::make_uuid();
  tests::give_credit(pool(), project, 7);
  in_project([&](Transaction& tx) {
    Ledger points(tx, billing::LedgerName::kPointsMicro);
    points.credit(base::make_uuid(), project.id, {1000}, "an award");
    points.hold(hold, project.id, {600}, job, 1);
    EXPECT_THROW(Ledger(tx).post(base::make_uuid(), hold, {1}, "in dollars"), TransferConflict);
    points.post(base::make_uuid(), hold, {600}, "trained");
    EXPECT_EQ(points.balance(project.id).available.value, 400);
    EXPECT_EQ(points.list(project.id, {}).data.size(), 3u);
    EXPECT_EQ(Ledger(tx).list(project.id, {}).data.size(), 1u);
    EXPECT_THROW(points.hold(base::make_uuid(), project.id, {401}, job, 1), InsufficientFunds);
  });
  EXPECT_EQ(balance().available.value, 7);
  EXPECT_TRUE(faults().empty());
}

TEST_F(LedgerTest, ThirtyTwoThreadsWithOneTransferIdMoveMoneyOnce) {
  const std::string credit = base::make_uuid();
  const auto many = tests::make_pool(8);
  std::atomic<int> moved{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 32; ++i)
      threads.emplace_back([&] {
        if (many->transact(Scope::project(project.id),
                           [&](Transaction& tx) { return Ledger(tx).credit(credit, project.id, {1000}, "gift"); }))
          ++moved;
      });
  }
  EXPECT_EQ(moved, 1);
  EXPECT_EQ(balance().available.value, 1000);
}

TEST_F(LedgerTest, AChargeBeyondItsHoldIsRefused) {
  const std::string job = make_job();
  const std::string hold = base::make_uuid();
  tests::give_credit(pool(), project, 1000);
  in_project([&](Transaction& tx) { Ledger(tx).hold(hold, project.id, {100}, job, 1); });
  EXPECT_THROW(in_project([&](Transaction& tx) { Ledger(tx).post(base::make_uuid(), hold, {101}, "more"); }), TransferConflict);
  EXPECT_EQ(balance().held.value, 100);
}

TEST_F(LedgerTest, TwoHundredClientsOnOneDollarOverspendNothing) {
  constexpr std::int64_t kDollar = 1'000'000'000;
  constexpr std::int64_t kPrice = 30'000'000;  // 33 fit, 167 do not
  tests::give_credit(pool(), project, kDollar);
  const std::string job = make_job();
  const auto many = tests::make_pool(50);
  std::atomic<int> held{0}, refused{0};
  std::latch begin(200);
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < 200; ++i)
      clients.emplace_back([&] {
        begin.arrive_and_wait();
        try {
          many->transact(Scope::project(project.id),
                         [&](Transaction& tx) { Ledger(tx).hold(base::make_uuid(), project.id, {kPrice}, job, 1); });
          ++held;
        } catch (const InsufficientFunds& error) {
          EXPECT_EQ(error.shortfall().value, kPrice - kDollar % kPrice);
          ++refused;
        }
      });
  }
  EXPECT_EQ(held, 33);
  EXPECT_EQ(refused, 200 - 33);
  EXPECT_EQ(balance().held.value, 33 * kPrice);
  EXPECT_EQ(balance().available.value, kDollar - 33 * kPrice);
  EXPECT_TRUE(faults().empty());
}

TEST_F(LedgerTest, ACreditLimitIsHowFarAProjectMayGoBelowNothing) {
  const std::string job = make_job(), hold = base::make_uuid(), late = base::make_uuid();
  const auto set_limit = [&](std::int64_t limit) {
    return pool().transact(Scope::system(), [&](Transaction& tx) {
      return billing::set_credit_limit(tx, project, {limit}, std::nullopt);
    });
  };
  const auto try_hold = [&](const std::string& id, std::int64_t amount) {
    return in_project([&](Transaction& tx) -> std::int64_t {
      try {
        Ledger(tx).hold(id, project.id, {amount}, job, 1);
        return 0;
      } catch (const InsufficientFunds& error) {
        return error.shortfall().value;
      }
    });
  };
  tests::give_credit(pool(), project, 100);
  EXPECT_EQ(try_hold(base::make_uuid(), 101), 1) << "prepaid until a limit is set";
  EXPECT_EQ(set_limit(500).available.value, 600);
  EXPECT_EQ(try_hold(base::make_uuid(), 601), 1);
  EXPECT_EQ(try_hold(hold, 600), 0);
  EXPECT_EQ(set_limit(50).available.value, -450) << "what is used stays";
  EXPECT_EQ(try_hold(late, 1), 451);
  in_project([&](Transaction& tx) { EXPECT_TRUE(Ledger(tx).post(base::make_uuid(), hold, {580}, "trained")); });
  EXPECT_EQ(balance().available.value, -430) << "and is charged";
  EXPECT_EQ(balance().spent.value, 580);
  tests::give_credit(pool(), project, 440);
  EXPECT_EQ(balance().available.value, 10);
  EXPECT_EQ(try_hold(late, 11), 1) << "what is paid back is not lent again beyond the limit";
  EXPECT_EQ(try_hold(late, 10), 0);
  EXPECT_TRUE(faults().empty());
}

TEST_F(LedgerTest, TheDatabaseItselfKeepsTheCreditLimit) {
  const std::string job = make_job(), hold = base::make_uuid();
  const auto system = [&](auto work) { pool().transact(Scope::system(), work); };
  system([&](Transaction& tx) { billing::set_credit_limit(tx, project, {500}, std::nullopt); });
  in_project([&](Transaction& tx) { Ledger(tx).hold(hold, project.id, {300}, job, 1); });
  system([&](Transaction& tx) { billing::set_credit_limit(tx, project, {100}, std::nullopt); });
  const auto add = [&](int more) {
    in_project([&](Transaction& tx) {
      tx.execute("UPDATE account SET debits_pending = debits_pending + $2::bigint WHERE project_id = $1 AND kind = 'prepaid'",
                 {project.id, more});
    });
  };
  EXPECT_THROW(add(1), postgres::SqlError) << "it owes what it did when the limit was lowered, and no more";
  in_project([&](Transaction& tx) { Ledger(tx).release(base::make_uuid(), hold, "cancelled"); });
  EXPECT_THROW(add(101), postgres::SqlError) << "and the limit alone once it has owed less";
  EXPECT_TRUE(faults().empty());
}

TEST_F(LedgerTest, VerifyNamesACreditLimitThatNoAdministratorSet) {
  const auto told = [&] {
    std::string all;
    for (const auto& fault : billing::verify_books(pool(), {}).faults)
      if (fault.rule == "I2") all += fault.detail;
    return all;
  };
  const auto set = [&](const char* columns) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute(std::string("UPDATE account SET ") + columns + " WHERE project_id = $1 AND kind = 'prepaid'", {project.id});
    });
  };
  pool().transact(Scope::system(), [&](Transaction& tx) { billing::set_credit_limit(tx, project, {500}, std::nullopt); });
  EXPECT_EQ(told(), "");
  set("credit_limit = 501, owing_allowed = 501");
  EXPECT_THAT(told(), testing::HasSubstr("has a credit limit of 501, the audit log says 500"));
  set("credit_limit = 500, owing_allowed = 501");
  EXPECT_THAT(told(), testing::HasSubstr("may owe 501, with a credit limit of 500"));
  set("owing_allowed = 500");
  EXPECT_EQ(told(), "");
}

TEST_F(LedgerTest, TheDatabaseItselfRefusesAnOverdraft) {
  tests::give_credit(pool(), project, 100);
  try {
    in_project([&](Transaction& tx) {
      tx.execute("UPDATE account SET debits_posted = 101 WHERE project_id = $1 AND kind = 'prepaid'", {project.id});
    });
    FAIL() << "an overdrawn account was written";
  } catch (const postgres::SqlError& error) {
    EXPECT_TRUE(error.is_check_violation());
  }
}

TEST_F(LedgerTest, RandomOperationsKeepTheRules) {
  constexpr int kThreads = 4;
  constexpr int kOperations = 250;
  std::vector<std::string> jobs;
  for (int i = 0; i < kThreads; ++i)
    jobs.push_back(make_job());
  const auto many = tests::make_pool(kThreads);
  std::atomic<std::int64_t> credited{0}, charged{0}, refused{0};
  const auto operate = [&](int thread) {
    std::mt19937_64 random(20261123u + static_cast<unsigned>(thread));
    const auto up_to = [&](std::int64_t most) { return std::uniform_int_distribution<std::int64_t>(1, most)(random); };
    std::map<std::string, std::int64_t> open;  // hold -> amount
    for (int i = 0; i < kOperations; ++i) {
      const auto choice = up_to(10);
      const std::string id = base::make_uuid();
      const std::int64_t amount = up_to(1'000'000);
      const bool resolves = choice > 6 && !open.empty();
      const std::string hold = resolves ? open.begin()->first : "";
      const std::int64_t charge = resolves && choice <= 8 ? 1 + amount % open.begin()->second : 0;
      bool held = false;
      many->transact(Scope::project(project.id), [&](Transaction& tx) {
        Ledger ledger(tx);
        held = false;
        if (charge > 0) {
          ledger.post(id, hold, {charge}, "random");
        } else if (resolves) {
          ledger.release(id, hold, "random");
        } else if (choice <= 2) {
          ledger.credit(id, project.id, {amount}, "random");
        } else {
          try {
            held = ledger.hold(id, project.id, {amount}, jobs[thread], 1);
          } catch (const InsufficientFunds&) {
            ++refused;
          }
        }
      });
      if (resolves) open.erase(hold);
      if (held) open.emplace(id, amount);
      if (!resolves && choice <= 2) credited += amount;
      charged += charge;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back(operate, t);
  }
  const auto after = balance();
  EXPECT_EQ(after.credited.value, credited);
  EXPECT_EQ(after.spent.value, charged);
  EXPECT_GT(charged, 0);
  EXPECT_GT(refused, 0) << "some holds found the purse empty";
  EXPECT_EQ(after.available.value + after.held.value + after.spent.value, after.credited.value);
  for (const auto& fault : faults())
    ADD_FAILURE() << fault.rule << " " << fault.detail;
}

/// By whom, and what the database says to it.
std::string refusal(postgres::Pool& by, const std::string& statement) {
  try {
    by.transact(Scope::system(), [&](Transaction& tx) { tx.execute(statement); });
  } catch (const postgres::SqlError& error) {
    return error.sqlstate;
  }
  return "went through";
}

TEST_F(LedgerTest, WhatIsWrittenIsAppendOnlyByGrantsAndByTriggers) {
  tests::give_credit(pool(), project, 100);
  const auto owner = tests::make_owner_pool(), superuser = tests::make_superuser_pool();
  for (const char* table : {"transfer", "usage", "audit_log", "ledger_seal", "ledger_head"})
    for (const std::string statement : {"UPDATE $ SET %", "DELETE FROM $", "TRUNCATE $ CASCADE"}) {
      std::string sql = statement;
      sql.replace(sql.find('$'), 1, table);
      const std::string name = table;
      if (const auto at = sql.find('%'); at != std::string::npos)
        sql.replace(at, 1,
                    name == "audit_log"  ? "type = 'x'"
                    : name == "usage"    ? "tokens_cum = 0"
                    : name == "transfer" ? "amount = 1"
                                         : "hash = '\\x'");
      EXPECT_EQ(refusal(pool(), sql), "42501") << sql;
      EXPECT_EQ(refusal(*owner, sql), "42501") << sql;
      EXPECT_EQ(refusal(*superuser, sql), "23000") << sql;
    }
  EXPECT_EQ(refusal(*owner, "UPDATE transfer SET seq = DEFAULT"), "23000") << "the column that foreign keys lock by";
  for (const char* sql : {"UPDATE price SET nano_per_1k = 0", "DELETE FROM price"}) {
    EXPECT_EQ(refusal(pool(), sql), "42501");
    EXPECT_EQ(refusal(*owner, sql), "23000");
  }
}

TEST_F(LedgerTest, VerifyNamesAnAlteredBalance) {
  tests::give_credit(pool(), project, 1000);
  const auto alter = [&](int by) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE account SET credits_posted = credits_posted + $2::bigint WHERE project_id = $1 AND kind = 'prepaid'",
                 {project.id, by});
    });
  };
  alter(1);
  const auto found = faults();
  alter(-1);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].rule, "I1");
  EXPECT_EQ(found[1].rule, "I3");
  EXPECT_TRUE(faults().empty());
}

}  // namespace
}  // namespace finetuned
