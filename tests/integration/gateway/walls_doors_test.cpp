#include "storage/key_store.h"
#include "tests/integration/gateway/walls_fixture.h"
#include "tests/integration/support/services.h"

// Which keys open which routes, and what the database lets through where a route does not look.

namespace finetuned::tests {
namespace {

using postgres::Scope;
using postgres::Transaction;

class DoorsTest : public WallsTest {
 protected:
  /// Keys of an estate of its own that have opened doors, and open none any more.
  static std::vector<std::pair<std::string, std::string>> dead_keys() {
    const Estate gone = fresh();
    std::vector<std::pair<std::string, std::string>> keys{{"no key", ""}, {"a made-up key", "sk-ft-" + std::string(43, 'a')}};
    pool().transact(Scope::system(), [&](Transaction& tx) {
      storage::KeyStore store(tx);
      const auto revoked = store.create_project_key(gone.tenant.project.id, "revoked");
      const auto revoked_admin = store.create_admin_key(gone.tenant.project.organization_id, "revoked");
      const auto expired = store.create_admin_key(gone.tenant.project.organization_id, "expired", 1);
      store.revoke(revoked.key.id);
      store.revoke(revoked_admin.key.id);
      tx.execute("UPDATE api_key SET expires_at = clock_timestamp() - interval '1 second' WHERE id = $1", {expired.key.id});
      const std::string friend_key = store.create_project_key(gone.id("friend_id"), "of an archived project").secret;
      storage::OrganizationStore(tx).archive_project(gone.id("friend_id"));
      keys.insert(keys.end(), {{"a revoked project key", revoked.secret}, {"a revoked admin key", revoked_admin.secret},
                               {"an expired admin key", expired.secret}, {"an archived project's key", friend_key}});
    });
    return keys;
  }
};

TEST_F(DoorsTest, EveryRouteThatIsNotOpenNeedsALiveKeyOfItsKind) {
  const auto dead = dead_keys();
  mine();
  Watch database;
  for (const MatrixEntry& entry : route_matrix()) {
    if (entry.open) continue;
    const std::string path = entry.path_of(mine()), body = mine().fill(entry.body);
    for (const auto& [what, key] : dead) {
      const Answer refused = ask(entry, path, key, body);
      EXPECT_EQ(refused.status, 401) << entry.route << " with " << what << ": " << refused.body;
      EXPECT_EQ(refused.code(), key.empty() ? "missing_api_key" : "invalid_api_key") << entry.route << " with " << what;
    }
    const Answer other_kind = ask(entry, path, is_admin(entry) ? mine().tenant.key : mine().tenant.admin_key, body);
    EXPECT_EQ(other_kind.status, 403) << entry.route << ": " << other_kind.body;
    EXPECT_EQ(other_kind.code(), "insufficient_permissions") << entry.route;
    const Answer other_header = ask(entry, path, key_for(entry, mine()), body, {"OpenAI-Organization: " + stranger().id("organization_id")});
    EXPECT_EQ(other_header.code(), "mismatched_organization") << entry.route << ": " << other_header.body;
    if (is_admin(entry)) continue;
    for (const Estate* other : {&stranger(), &neighbour()})
      EXPECT_EQ(ask(entry, path, mine().tenant.key, body, {"OpenAI-Project: " + other->id("project_id")}).code(), "mismatched_project")
          << entry.route;
  }
  database.expect_nothing_changed("a refused key");
}

TEST_F(DoorsTest, ADownloadUrlOpensItsOwnFileAlone) {
  const std::string url = text(send_as(mine().tenant.key, "POST", mine().fill("/v1/files/$file_id/download_url")).json().at("url"));
  const std::string path = url.substr(url.find("/v1/"));
  EXPECT_EQ(send_as("", "GET", path).status, 200);
  for (const Estate* other : {&stranger(), &neighbour()}) {
    std::string theirs = path;
    theirs.replace(theirs.find(mine().id("file_id")), mine().id("file_id").size(), other->id("file_id"));
    EXPECT_EQ(send_as("", "GET", theirs).code(), "invalid_download_url") << theirs;
  }
}

/// A scope without its setting, and another project's, see no row of a table that is a project's; and no row can be
/// moved out of its project. Every such table has rows in the estates.
TEST_F(DoorsTest, TheDatabaseItselfKeepsProjectsApart) {
  const std::string own = mine().id("project_id");
  stranger();
  const auto tables = pool().transact(Scope::system(), [&](Transaction& tx) {
    std::vector<std::string> names;
    const auto rows = tx.execute("SELECT table_name::text AS name FROM information_schema.columns WHERE table_schema = 'public'"
                                 " AND column_name = 'project_id' ORDER BY 1");
    for (std::size_t i = 0; i < rows.size(); ++i) names.push_back(rows.row(i).text("name"));
    return names;
  });
  EXPECT_GT(tables.size(), 20u);
  const auto rows_in = [&](Transaction& tx, const std::string& table, const std::string& condition) {
    return tx.execute("SELECT count(*) AS n FROM " + table + " WHERE " + condition).row(0).integer("n");
  };
  for (const std::string& table : tables) {
    pool().transact(Scope::project(own), [&](Transaction& tx) {
      EXPECT_EQ(rows_in(tx, table, "project_id IS DISTINCT FROM '" + own + "'"), 0) << table << " shows another project's rows";
      tx.execute("SELECT set_config('finetuned.project_id', '', true)");
      EXPECT_EQ(rows_in(tx, table, "true"), 0) << table << " has rows for nobody";
    });
    const bool held = pool().transact(Scope::project(own), [&](Transaction& tx) { return rows_in(tx, table, "true") > 0; });
    if (!held) continue;
    try {
      pool().transact(Scope::project(own), [&](Transaction& tx) {
        tx.execute("UPDATE " + table + " SET project_id = $1", {stranger().id("project_id")});
        throw std::runtime_error("it could");
      });
    } catch (const postgres::SqlError& error) {
      EXPECT_TRUE(error.sqlstate == "42501" || error.sqlstate == "23000") << table << " " << error.sqlstate << " " << error.what();
    } catch (const std::runtime_error&) {
      ADD_FAILURE() << "a row of " << table << " can be given to another project";
    }
  }
}

}  // namespace
}  // namespace finetuned::tests
