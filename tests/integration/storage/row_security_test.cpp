#include <gmock/gmock.h>

#include <set>

#include "billing/prices.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

// What keeps projects apart where a query forgets to: read from the catalogue, so that a new table without it fails.

namespace finetuned::tests {
namespace {

using postgres::Scope;
using postgres::Transaction;

/// What belongs to nobody, or names who there is; each has its reason.
const std::set<std::string> kShared{
    "base_model",        // every project sees them
    "share_clock",       // one number
    "training_speed",    // of workers, by base and device
    "worker",            // who trains, for whomever
    "schema_migration",  // the migrator's
};

/// Policies beside `serves_project(...)`: to see, not to change.
const std::set<std::string> kBeside{
    "fine_tuned_model_permitted",  // is_permitted(name)
    "organization_own",            // the project's
    "price_scope",                 // the platform's prices and the project's organization's
};

class RowSecurity : public testing::Test {
 protected:
  static std::vector<std::string> names(const std::string& sql) {
    return pool().transact(Scope::system(), [&](Transaction& tx) {
      std::vector<std::string> all;
      const auto rows = tx.execute(sql);
      for (std::size_t i = 0; i < rows.size(); ++i) all.push_back(rows.row(i).text("name"));
      return all;
    });
  }
};

constexpr const char* kTables = "FROM pg_class t WHERE t.relkind IN ('r', 'p') AND t.relnamespace = 'public'::regnamespace";

TEST_F(RowSecurity, IsForcedOnEveryTableThatIsNotShared) {
  for (const std::string& table : names(std::string("SELECT relname AS name ") + kTables + " AND NOT (relrowsecurity AND relforcerowsecurity)"))
    EXPECT_TRUE(kShared.contains(table)) << table << " needs ENABLE and FORCE ROW LEVEL SECURITY, and a policy";
  EXPECT_GT(names(std::string("SELECT relname AS name ") + kTables + " AND relforcerowsecurity").size(), 25u);
}

TEST_F(RowSecurity, AnyTableOfAProjectServesThatProject) {
  const auto owned = names(std::string("SELECT relname AS name ") + kTables + " AND EXISTS (SELECT FROM pg_attribute a"
                           " WHERE a.attrelid = t.oid AND a.attname IN ('project_id', 'organization_id') AND NOT a.attisdropped)");
  for (const std::string& table : owned) EXPECT_FALSE(kShared.contains(table)) << table << " says whose its rows are: it is not shared";
  // One policy for all commands whose only condition is the row's own project (or none: administrators' and the system's).
  const auto guarded = names("SELECT tablename::text AS name FROM pg_policies WHERE schemaname = 'public' AND cmd = 'ALL' AND with_check IS"
                             " NULL AND permissive = 'PERMISSIVE' AND (qual IN ('serves_project(project_id)', 'serves_project(NULL::text)')"
                             " OR tablename = 'project' AND qual = 'serves_project(id)')");
  for (const std::string& table : owned) {
    if (table == "price") continue;  // APriceIsSeenWhereItHolds
    EXPECT_THAT(guarded, testing::Contains(table)) << table << " has no policy of its own by serves_project(project_id)";
  }
  for (const std::string& policy : names("SELECT policyname::text AS name FROM pg_policies WHERE schemaname = 'public' AND qual NOT LIKE"
                                         " 'serves_project(%' OR qual IS NULL"))
    EXPECT_TRUE(kBeside.contains(policy)) << policy << " lets through more than a project's own rows";
}

TEST_F(RowSecurity, APriceIsSeenWhereItHolds) {
  const auto mine = make_project(pool()), theirs = make_project(pool());
  const auto version = pool().transact(Scope::system(), [&](Transaction& tx) {
    return billing::add_price(tx, {.of = {.organization_id = mine.organization_id, .base_model = {}}, .nano_per_1k = 7, .valid_from = {}}).price.version;
  });
  const auto seen = [&](const Scope& scope) {
    return pool().transact(scope, [&](Transaction& tx) {
      return tx.execute("SELECT count(*) FILTER (WHERE version = $1) AS n, count(*) FILTER (WHERE organization_id IS NULL) > 0 AS shared"
                        " FROM price", {version});
    });
  };
  EXPECT_EQ(seen(Scope::project(mine.id)).row(0).integer("n"), 1);
  EXPECT_EQ(seen(Scope::project(theirs.id)).row(0).integer("n"), 0);
  EXPECT_TRUE(seen(Scope::project(theirs.id)).row(0).boolean("shared"));
  EXPECT_EQ(seen(Scope::system()).row(0).integer("n"), 1);
  EXPECT_THROW(pool().transact(Scope::project(mine.id),
                               [&](Transaction& tx) {
                                 tx.execute("INSERT INTO price (organization_id, method, nano_per_1k) VALUES ($1, 'supervised', 0)",
                                            {mine.organization_id});
                               }),
               postgres::SqlError);
}

TEST_F(RowSecurity, BindsTheRoleThatThePlatformConnectsAs) {
  EXPECT_TRUE(names("SELECT rolname::text AS name FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls OR"
                    " pg_has_role(current_user, 'pg_write_all_data', 'member') OR pg_has_role(current_user, 'pg_read_all_data', 'member'))")
                  .empty())
      << "a superuser, or a role with BYPASSRLS, sees every project's rows";
  EXPECT_TRUE(names("SELECT proname::text AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef").empty())
      << "a SECURITY DEFINER function runs as somebody else";
  EXPECT_TRUE(names("SELECT relname::text AS name FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace").empty())
      << "a view reads with its owner's rights: make it security_invoker, and look for that here";
}

}  // namespace
}  // namespace finetuned::tests
