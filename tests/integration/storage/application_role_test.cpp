#include <gtest/gtest.h>

#include "storage/postgres/errors.h"
#include "storage/postgres/grants.h"
#include "storage/postgres/migrator.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

// What the role that the platform runs as may not do, whatever statement it is made to send.

namespace finetuned::tests {
namespace {

using postgres::Scope;
using postgres::Transaction;

constexpr char kDenied[] = "42501";

/// The SQLSTATE; empty where the statement went through.
std::string refusal(const std::string& sql) {
  try {
    pool().transact(Scope::system(), [&](Transaction& tx) { tx.execute_script(sql); });
    return "";
  } catch (const postgres::SqlError& error) {
    return error.sqlstate;
  }
}

std::vector<std::string> names(const std::string& sql) {
  return pool().transact(Scope::system(), [&](Transaction& tx) {
    std::vector<std::string> all;
    const auto rows = tx.execute(sql);
    for (std::size_t i = 0; i < rows.size(); ++i) all.push_back(rows.row(i).text("name"));
    return all;
  });
}

std::vector<std::string> tables(const std::string& condition) {
  return names("SELECT relname::text AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND " + condition);
}

TEST(ApplicationRole, OwnsNothingAndCannotBecomeTheOwner) {
  EXPECT_EQ(postgres::role_of(pool()), "finetuned_app");
  EXPECT_TRUE(tables("pg_get_userbyid(relowner) = current_user").empty());
  EXPECT_EQ(refusal("SET ROLE finetuned"), kDenied);
  EXPECT_EQ(refusal("SET SESSION AUTHORIZATION finetuned"), kDenied);
  EXPECT_EQ(refusal("CREATE TABLE public.mine (n int)"), kDenied);
  EXPECT_EQ(refusal("CREATE OR REPLACE FUNCTION serves_project(text) RETURNS boolean LANGUAGE sql AS 'SELECT true'"), kDenied);
  EXPECT_EQ(refusal("SET LOCAL session_replication_role = replica"), kDenied);
}

TEST(ApplicationRole, SeesNoRowOfAProjectWithoutSayingWhomItServes) {
  const auto project = make_project(pool());
  make_file(pool(), project);
  const auto guarded = tables("relrowsecurity AND relname <> 'price'");  // the platform's prices are everybody's
  EXPECT_GT(guarded.size(), 25u);
  pool().transact(Scope::project("none"), [&](Transaction& tx) {
    for (const std::string& table : guarded)
      EXPECT_EQ(tx.execute("SELECT count(*) AS n FROM " + table).row(0).integer("n"), 0) << table;
  });
  // Not even the settings of an empty scope.
  pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute_script("RESET finetuned.scope; RESET finetuned.project_id");
    for (const std::string& table : guarded)
      EXPECT_EQ(tx.execute("SELECT count(*) AS n FROM " + table).row(0).integer("n"), 0) << table;
  });
}

TEST(ApplicationRole, SeesAProjectsOwnOrganizationAndNoOther) {
  const auto mine = make_project(pool()), theirs = make_project(pool());
  pool().transact(Scope::project(mine.id), [&](Transaction& tx) {
    const auto rows = tx.execute("SELECT id FROM organization");
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(rows.row(0).text("id"), mine.organization_id);
    EXPECT_EQ(tx.execute("UPDATE organization SET name = name").affected_rows(), 0u);
  });
  EXPECT_NE(mine.organization_id, theirs.organization_id);
}

TEST(ApplicationRole, ChangesNothingThatIsAppendOnly) {
  const auto closed = tables("EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND tgfoid = 'refuse_change'::regproc)");
  EXPECT_GE(closed.size(), 7u);
  for (const std::string& table : closed) {
    const std::string column = names("SELECT attname::text AS name FROM pg_attribute WHERE attrelid = '" + table +
                                     "'::regclass AND attnum > 0 AND attidentity = '' LIMIT 1").at(0);
    EXPECT_EQ(refusal("UPDATE " + table + " SET " + column + " = " + column), kDenied) << table;
    EXPECT_EQ(refusal("DELETE FROM " + table), kDenied) << table;
    EXPECT_EQ(refusal("SELECT FROM " + table + " FOR UPDATE"), kDenied) << table;
  }
}

TEST(ApplicationRole, TakesNoTableItsWallsAway) {
  for (const std::string& table : tables("true"))
    for (const std::string sql : {"TRUNCATE $ CASCADE", "DROP TABLE $ CASCADE", "ALTER TABLE $ DISABLE TRIGGER USER",
                                  "ALTER TABLE $ DISABLE ROW LEVEL SECURITY", "ALTER TABLE $ NO FORCE ROW LEVEL SECURITY",
                                  "CREATE POLICY mine ON $ USING (true)"}) {
      std::string statement = sql;
      statement.replace(statement.find('$'), 1, table);
      EXPECT_EQ(refusal(statement), kDenied) << statement;
    }
}

TEST(ApplicationRole, DeletesNoRowThatIsToBeMarked) {
  for (const char* table : {"organization", "project", "api_key", "file", "job", "job_event", "job_checkpoint", "fine_tuned_model", "account",
                            "audit_chain", "schema_migration"})
    EXPECT_EQ(refusal(std::string("DELETE FROM ") + table), kDenied) << table;
}

TEST(ApplicationRole, IsGrantedExactlyThisHoweverOften) {
  const auto owner = make_owner_pool();
  owner->transact(Scope::system(), [](Transaction& tx) { tx.execute_script("GRANT ALL ON transfer TO finetuned_app"); });
  postgres::grant_to_application(*owner, "finetuned_app");
  EXPECT_EQ(refusal("UPDATE transfer SET amount = 1"), kDenied);
  make_project(pool());
}

TEST(ApplicationRole, IsRefusedWhereItWouldStandAboveTheWalls) {
  const auto owner = make_owner_pool();
  EXPECT_THROW(postgres::grant_to_application(*owner, "nobody's"), postgres::MigrationError);
  EXPECT_THROW(postgres::grant_to_application(*owner, "services"), postgres::MigrationError);
  EXPECT_THROW(postgres::grant_to_application(*owner, "finetuned"), postgres::MigrationError);
}

TEST(ApplicationRole, WaitsForItsGrants) {
  const std::string url = make_empty_database();
  postgres::Pool owner({.url = url, .connections = 1}), application({.url = application_url(url), .connections = 1});
  const auto migrations = postgres::embedded_migrations();
  EXPECT_FALSE(postgres::is_migrated(application, migrations));
  postgres::migrate(owner, migrations);
  EXPECT_FALSE(postgres::is_migrated(application, migrations)) << "finetuned migrate grants, and has not";
  postgres::grant_to_application(owner, "finetuned_app");
  EXPECT_TRUE(postgres::is_migrated(application, migrations));
}

}  // namespace
}  // namespace finetuned::tests
