#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "storage/postgres/migrator.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned {
namespace {

using postgres::Migration;
using postgres::Pool;
using postgres::Scope;
using postgres::Transaction;
using tests::pool;

const std::vector<Migration> kTwo{{1, "0001_a.sql", "CREATE TABLE a (n int)"},
                                  {2, "0002_b.sql", "CREATE TABLE b (n int); INSERT INTO b VALUES (1)"}};

TEST(Migrator, AppliesOnceAndNamesWhatItDid) {
  Pool empty({.url = tests::make_empty_database(), .connections = 1});
  EXPECT_FALSE(postgres::is_migrated(empty, kTwo));
  EXPECT_EQ(postgres::migrate(empty, {kTwo[0]}), std::vector<std::string>{"0001_a.sql"});
  EXPECT_EQ(postgres::migrate(empty, kTwo), std::vector<std::string>{"0002_b.sql"});
  EXPECT_TRUE(postgres::migrate(empty, kTwo).empty());
  EXPECT_TRUE(postgres::is_migrated(empty, kTwo));
}

TEST(Migrator, RefusesAChangedOrUnknownHistory) {
  Pool empty({.url = tests::make_empty_database(), .connections = 1});
  postgres::migrate(empty, kTwo);
  auto changed = kTwo;
  changed[0].sql += " -- later thought";
  EXPECT_THROW(postgres::migrate(empty, changed), postgres::MigrationError);
  EXPECT_THROW(postgres::migrate(empty, {kTwo[0]}), postgres::MigrationError) << "an older program on a newer database";
  EXPECT_THROW(postgres::migrate(empty, {kTwo[1]}), postgres::MigrationError) << "a gap in the numbers";
}

TEST(Migrator, TwoAtOnceDoTheWorkOnce) {
  const std::string url = tests::make_empty_database();
  std::atomic<std::size_t> applied{0};
  std::vector<std::jthread> both;
  for (int i = 0; i < 2; ++i)
    both.emplace_back([&] {
      Pool mine({.url = url, .connections = 1});
      applied += postgres::migrate(mine, postgres::embedded_migrations()).size();
    });
  both.clear();
  EXPECT_EQ(applied, postgres::embedded_migrations().size());
}

TEST(Migrator, AFailingFileLeavesNothingOfItself) {
  Pool empty({.url = tests::make_empty_database(), .connections = 1});
  const std::vector<Migration> broken{kTwo[0], {2, "0002_b.sql", "CREATE TABLE b (n int); SELECT 1 / 0"}};
  EXPECT_THROW(postgres::migrate(empty, broken), postgres::SqlError);
  EXPECT_EQ(postgres::migrate(empty, kTwo), std::vector<std::string>{"0002_b.sql"});
}

TEST(Migrator, EmbedsWhatTheDirectoryHolds) {
  const auto read = postgres::read_migrations(std::filesystem::path(FINETUNED_SOURCE_DIR) / "migrations");
  const auto embedded = postgres::embedded_migrations();
  ASSERT_EQ(read.size(), embedded.size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].name, embedded[i].name);
    EXPECT_EQ(read[i].number, embedded[i].number);
    EXPECT_EQ(read[i].sql, embedded[i].sql);
  }
}

TEST(PostgresPool, ValuesComeBackAsTheyWent) {
  pool().transact(Scope::system(), [](Transaction& tx) {
    const std::string binary("\x00\xff'\\\n", 5);
    const std::vector<std::string> texts{"a\"b", "c\\d", "", "e,{f}"};
    const auto row = tx.execute(
        "SELECT $1::bigint AS i, $2::float8 AS r, $3::bool AS b, $4::text AS t, $5::bytea AS raw, $6::text AS absent,"
        " array_to_string($7::text[], '|') AS joined",
        {INT64_MIN, 0.1, true, "it's ü", postgres::Value::bytes(binary), std::nullopt, postgres::Value::texts(texts)});
    EXPECT_EQ(row.row(0).integer("i"), INT64_MIN);
    EXPECT_EQ(row.row(0).real("r"), 0.1);
    EXPECT_TRUE(row.row(0).boolean("b"));
    EXPECT_EQ(row.row(0).text("t"), "it's ü");
    EXPECT_EQ(row.row(0).bytes("raw"), binary);
    EXPECT_EQ(row.row(0).maybe_text("absent"), std::nullopt);
    EXPECT_EQ(row.row(0).text("joined"), "a\"b|c\\d||e,{f}");
  });
}

class PoolTable : public testing::Test {
 protected:
  void SetUp() override {
    owner->transact(Scope::system(), [this](Transaction& tx) {
      tx.execute_script("CREATE TABLE " + table + " (k int PRIMARY KEY, n int NOT NULL)");
      tx.execute_script("GRANT ALL ON " + table + " TO finetuned_app");
      tx.execute_script("INSERT INTO " + table + " VALUES (1, 0), (2, 0)");
    });
  }
  void TearDown() override {
    owner->transact(Scope::system(), [this](Transaction& tx) { tx.execute_script("DROP TABLE " + table); });
  }
  std::int64_t value(int k) {
    return pool().transact(Scope::system(), [&](Transaction& tx) {
      return tx.execute("SELECT n FROM " + table + " WHERE k = $1", {k}).row(0).integer("n");
    });
  }
  void add(Transaction& tx, int k) { tx.execute("UPDATE " + table + " SET n = n + 1 WHERE k = $1", {k}); }
  /// Ends the session that `pid` serves, from another one.
  void terminate(std::int64_t pid) {
    const auto other = tests::make_pool(1);
    other->transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("SELECT pg_terminate_backend($1::int, 5000)", {pid});
    });
  }
  std::unique_ptr<Pool> owner = tests::make_owner_pool();
  std::string table = [] {
    std::string name = "t_" + base::make_uuid();
    for (char& c : name)
      if (c == '-') c = '_';
    return name;
  }();
};

TEST_F(PoolTable, RollsBackWhenTheWorkThrows) {
  EXPECT_THROW(pool().transact(Scope::system(),
                               [&](Transaction& tx) {
                                 add(tx, 1);
                                 throw std::runtime_error("no");
                               }),
               std::runtime_error);
  EXPECT_EQ(value(1), 0);
}

TEST_F(PoolTable, ASwallowedErrorDoesNotPassForACommit) {
  const auto swallow = [&](Transaction& tx) {
    add(tx, 1);
    try {
      tx.execute("INSERT INTO " + table + " VALUES (1, 1)");
    } catch (const postgres::SqlError& error) {
      EXPECT_TRUE(error.is_unique_violation());
    }
  };
  EXPECT_THROW(pool().transact(Scope::system(), swallow), postgres::SqlError);
  EXPECT_EQ(value(1), 0);
}

TEST_F(PoolTable, WhatANestedPartThrowsUndoesThatPartAlone) {
  pool().transact(Scope::system(), [&](Transaction& tx) {
    add(tx, 1);
    const auto fail = [&] {
      add(tx, 1);
      tx.execute_later("UPDATE " + table + " SET n = 100 WHERE k = $1", {2});
      throw std::runtime_error("no");
    };
    EXPECT_THROW(tx.nested(fail), std::runtime_error);
    tx.nested([&] { add(tx, 2); });
    EXPECT_THROW(tx.nested([] { throw std::runtime_error("before anything"); }), std::runtime_error);
    tx.execute_later("UPDATE " + table + " SET n = n + 1 WHERE k = $1", {2});
  });
  EXPECT_EQ(value(1), 1);
  EXPECT_EQ(value(2), 2);
}

TEST_F(PoolTable, AStatementThatFailsInANestedPartEndsTheTransaction) {
  const auto work = [&](Transaction& tx) {
    add(tx, 1);
    EXPECT_THROW(tx.nested([&] { tx.execute("INSERT INTO " + table + " VALUES (1, 1)"); }), postgres::SqlError);
    tx.execute("SELECT 1");
  };
  EXPECT_THROW(pool().transact(Scope::system(), work), postgres::SqlError);
  EXPECT_EQ(value(1), 0);
}

TEST_F(PoolTable, WhatIsAskedOnceIsRememberedUntilItsLockGoes) {
  const std::string lock = "SELECT n FROM " + table + " WHERE k = $1 FOR UPDATE";
  pool().transact(Scope::system(), [&](Transaction& tx) {
    EXPECT_FALSE(tx.remembers(lock, {1}));
    EXPECT_EQ(tx.execute_once(lock, {1}).row(0).integer("n"), 0);
    EXPECT_TRUE(tx.remembers(lock, {1}));
    EXPECT_FALSE(tx.remembers(lock, {2}));
    add(tx, 1);
    EXPECT_EQ(tx.execute_once(lock, {1}).row(0).integer("n"), 0) << "not asked again";
    EXPECT_THROW(tx.nested([] { throw std::runtime_error("no"); }), std::runtime_error);
    EXPECT_EQ(tx.execute_once(lock, {1}).row(0).integer("n"), 1) << "its lock may have gone";
  });
}

TEST_F(PoolTable, DeadlocksAreTriedAgain) {
  std::atomic<int> first_round{0};
  std::atomic<int> runs{0};
  const auto cross = [&](int from, int to) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      ++runs;
      add(tx, from);
      if (++first_round <= 2)
        while (first_round < 2) std::this_thread::yield();
      add(tx, to);
    });
  };
  {
    std::jthread one([&] { cross(1, 2); });
    std::jthread other([&] { cross(2, 1); });
  }
  EXPECT_EQ(value(1), 2);
  EXPECT_EQ(value(2), 2);
  EXPECT_GE(runs, 3) << "one of the two was the deadlock's victim";
}

TEST_F(PoolTable, AStatementPastItsLimitIsUnavailable) {
  const auto sleep = [](Transaction& tx) { tx.execute("SELECT pg_sleep(5)"); };
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_THROW(pool().transact(Scope::system(), sleep, std::chrono::milliseconds(100)), postgres::DatabaseUnavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
}

TEST_F(PoolTable, AStaleIdleConnectionIsReplaced) {
  const auto mine = tests::make_pool(1);
  const auto pid_of = [](Transaction& tx) { return tx.execute("SELECT pg_backend_pid() AS pid").row(0).integer("pid"); };
  const std::int64_t pid = mine->transact(Scope::system(), pid_of);
  terminate(pid);
  EXPECT_NE(mine->transact(Scope::system(), pid_of), pid);
}

TEST_F(PoolTable, OneStatementReadsInAScopeThatEndsWithIt) {
  const auto mine = tests::make_pool(1);
  const auto project = tests::make_project(*mine), other = tests::make_project(*mine);
  const auto file = tests::make_file(*mine, project);
  const auto seen = [&](const Scope& scope) {
    return mine->read_one(scope, [&](Transaction& tx) {
      return tx.execute("SELECT count(*) AS n FROM file WHERE id = $1", {file.id}).row(0).integer("n");
    });
  };
  EXPECT_EQ(seen(Scope::project(project.id)), 1);
  EXPECT_EQ(seen(Scope::project(other.id)), 0);
  EXPECT_EQ(seen(Scope::system()), 1);
  EXPECT_EQ(seen(Scope::project("x', true); SELECT set_config('finetuned.scope', 'system")), 0);
  const auto left = mine->transact(Scope::project("none"), [](Transaction& tx) {
    return tx.execute("SELECT pg_backend_pid() AS pid, current_setting('finetuned.project_id') AS project").row(0).text("project");
  });
  EXPECT_EQ(left, "none");
}

TEST_F(PoolTable, OneStatementsValuesStayValues) {
  pool().read_one(Scope::system(), [](Transaction& tx) {
    const auto rows = tx.execute("SELECT $1::text AS a, '$2' AS b, $2::bigint AS c, $3::text AS d, $1 || 'x' AS e",
                                 {"it's \\ $2 ü'; --", INT64_MIN, std::nullopt});
    EXPECT_EQ(rows.row(0).text("a"), "it's \\ $2 ü'; --");
    EXPECT_EQ(rows.row(0).text("b"), "$2");
    EXPECT_EQ(rows.row(0).integer("c"), INT64_MIN);
    EXPECT_EQ(rows.row(0).maybe_text("d"), std::nullopt);
    EXPECT_EQ(rows.row(0).text("e"), "it's \\ $2 ü'; --x");
    return true;
  });
}

TEST_F(PoolTable, OneStatementThatFailsLeavesAConnectionToGoOnWith) {
  const auto mine = tests::make_pool(1);
  const auto bad = [&](Transaction& tx) { return tx.execute("SELECT 1 / (n - n) AS x FROM " + table); };
  EXPECT_THROW(mine->read_one(Scope::system(), bad), postgres::SqlError);
  const auto pid_of = [](Transaction& tx) { return tx.execute("SELECT pg_backend_pid() AS pid").row(0).integer("pid"); };
  const std::int64_t pid = mine->read_one(Scope::system(), pid_of);
  terminate(pid);
  EXPECT_NE(mine->read_one(Scope::system(), pid_of), pid) << "a stale one is replaced";
}

TEST_F(PoolTable, AConnectionLostBeforeCommitIsUnavailableAndChangesNothing) {
  const auto mine = tests::make_pool(1);
  const auto cut = [&](Transaction& tx) {
    add(tx, 1);
    terminate(tx.execute("SELECT pg_backend_pid() AS pid").row(0).integer("pid"));
    add(tx, 1);
  };
  EXPECT_THROW(mine->transact(Scope::system(), cut), postgres::DatabaseUnavailable);
  EXPECT_EQ(value(1), 0);
  mine->transact(Scope::system(), [&](Transaction& tx) { add(tx, 1); });
  EXPECT_EQ(value(1), 1);
}

TEST_F(PoolTable, AConnectionLostInCommitIsToldApart) {
  owner->transact(Scope::system(), [&](Transaction& tx) {  // the session ends itself while it commits
    tx.execute_script("CREATE FUNCTION " + table + "_cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                      " PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); RETURN NULL; END $$;"
                      "CREATE CONSTRAINT TRIGGER cut AFTER UPDATE ON " + table +
                      " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION " + table + "_cut()");
  });
  const auto mine = tests::make_pool(1);
  EXPECT_THROW(mine->transact(Scope::system(), [&](Transaction& tx) { add(tx, 1); }), postgres::CommitOutcomeUnknown);
  EXPECT_EQ(value(1), 0);
  EXPECT_TRUE(mine->answers(std::chrono::milliseconds(1000)));
}

TEST_F(PoolTable, AnExhaustedPoolIsUnavailable) {
  postgres::PoolOptions options;
  options.url = tests::database_url();
  options.connections = 1;
  options.checkout_timeout = std::chrono::milliseconds(50);
  Pool small(std::move(options));
  small.transact(Scope::system(), [&](Transaction&) {
    EXPECT_THROW(small.transact(Scope::system(), [](Transaction&) {}), postgres::DatabaseUnavailable);
  });
}

TEST(PostgresPool, AServerAwayIsUnavailable) {
  Pool nowhere({.url = "postgresql:///finetuned?host=/nonexistent&user=finetuned", .connections = 1});
  EXPECT_THROW(nowhere.transact(Scope::system(), [](Transaction&) {}), postgres::DatabaseUnavailable);
  EXPECT_FALSE(nowhere.answers(std::chrono::milliseconds(100)));
}

TEST(RowLevelSecurity, AProjectSeesItsRowsOnly) {
  const auto mine = tests::make_project(pool());
  const auto theirs = tests::make_project(pool());
  const auto file = tests::make_file(pool(), mine);
  const auto files_seen = [&](const Scope& scope) {
    return pool().transact(scope, [&](Transaction& tx) {
      return tx.execute("SELECT count(*) AS n FROM file WHERE id = $1", {file.id}).row(0).integer("n");
    });
  };
  EXPECT_EQ(files_seen(Scope::project(mine.id)), 1);
  EXPECT_EQ(files_seen(Scope::project(theirs.id)), 0);
  EXPECT_EQ(files_seen(Scope::system()), 1);
}

TEST(Snapshot, AllItsStatementsSeeOneMomentAndNoneWrites) {
  const auto count = [](Transaction& tx) { return tx.execute("SELECT count(*) AS n FROM project").row(0).integer("n"); };
  const std::int64_t before = pool().snapshot(Scope::system(), [&](Transaction& tx) {
    const std::int64_t first = count(tx);
    tests::make_project(pool());
    EXPECT_EQ(count(tx), first);
    return first;
  });
  EXPECT_EQ(pool().transact(Scope::system(), count), before + 1);
  try {
    pool().snapshot(Scope::system(), [](Transaction& tx) { return tx.execute("DELETE FROM outbox").affected_rows(); });
    ADD_FAILURE() << "a snapshot wrote";
  } catch (const postgres::SqlError& error) {
    EXPECT_EQ(error.sqlstate, "25006");
  }
}

TEST(Snapshot, AnExportedOneIsSeenByAnotherConnection) {
  const auto count = [](Transaction& tx) { return tx.execute("SELECT count(*) AS n FROM project").row(0).integer("n"); };
  pool().snapshot(Scope::system(), [&](Transaction& tx) {
    const std::int64_t first = count(tx);
    const std::string exported = tx.execute("SELECT pg_export_snapshot() AS id").row(0).text("id");
    tests::make_project(pool());
    EXPECT_EQ(pool().snapshot(Scope::system(), count, std::nullopt, exported), first);
    EXPECT_EQ(pool().snapshot(Scope::system(), count), first + 1);
    return first;
  });
}

TEST(Rows, ColumnsAreFoundInAnyOrder) {
  pool().transact(Scope::system(), [](Transaction& tx) {
    const auto rows = tx.execute("SELECT 1 AS a, 2 AS b, 3 AS c UNION ALL SELECT 4, 5, 6");
    const auto row = rows.row(1);
    for (const auto& [column, value] : {std::pair("c", 6), {"a", 4}, {"a", 4}, {"c", 6}, {"b", 5}, {"a", 4}, {"b", 5}})
      EXPECT_EQ(row.integer(column), value) << column;
  });
}

TEST(RowLevelSecurity, WithoutAScopeThereAreNoRows) {
  const auto project = tests::make_project(pool());
  tests::make_file(pool(), project);
  pool().transact(Scope::system(), [](Transaction& tx) {
    tx.execute("SELECT set_config('finetuned.scope', '', true)");
    EXPECT_FALSE(tx.execute("SELECT rolsuper OR rolbypassrls AS above FROM pg_roles WHERE rolname = current_user")
                     .row(0)
                     .boolean("above"));
    for (const char* table : {"project", "api_key", "file", "file_report", "file_tokens", "job", "job_event",
                              "job_checkpoint", "job_result_file", "fine_tuned_model", "outbox", "account", "transfer",
                              "usage"})
      EXPECT_EQ(tx.execute(std::string("SELECT count(*) AS n FROM ") + table).row(0).integer("n"), 0) << table;
  });
}

TEST(RowLevelSecurity, AProjectCannotWriteForAnother) {
  const auto mine = tests::make_project(pool());
  const auto theirs = tests::make_project(pool());
  storage::NewFile file;
  file.id = base::make_id("file");
  file.project_id = theirs.id;
  file.purpose = "fine-tune";
  file.filename = "x.jsonl";
  file.sha256 = std::string(64, 'a');
  file.object_id = "o";
  try {
    pool().transact(Scope::project(mine.id), [&](Transaction& tx) { storage::FileStore(tx).create(file); });
    FAIL() << "a row of another project was written";
  } catch (const postgres::SqlError& error) {
    EXPECT_EQ(error.sqlstate, "42501");
  }
}

TEST(RowLevelSecurity, EveryTableOfAProjectIsUnderIt) {
  pool().transact(Scope::system(), [](Transaction& tx) {
    const auto open = tx.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'project_id'"
        " WHERE c.relkind = 'r' AND NOT (c.relrowsecurity AND c.relforcerowsecurity)");
    for (std::size_t i = 0; i < open.size(); ++i) ADD_FAILURE() << open.row(i).text("relname");
  });
}

}  // namespace
}  // namespace finetuned
