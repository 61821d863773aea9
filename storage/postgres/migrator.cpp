#include "storage/postgres/migrator.h"

#include <algorithm>
#include <map>

#include "base/files.h"
#include "base/sha256.h"

namespace finetuned::postgres {

namespace {

constexpr std::int64_t kMigrationLock = 0x66696e6574756e65;  // "finetune"
constexpr std::uint64_t kMostMigrationBytes = 1 << 20;
constexpr std::chrono::milliseconds kStatementLimit{10 * 60 * 1000};

/// number -> (name, sha256) of what the database has.
using History = std::map<int, std::pair<std::string, std::string>>;

History read_history(Transaction& tx) {
  History history;
  const Result rows = tx.execute("SELECT number, name, sha256 FROM schema_migration ORDER BY number");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row row = rows.row(i);
    history[static_cast<int>(row.integer("number"))] = {row.text("name"), row.text("sha256")};
  }
  return history;
}

void check_numbers(const std::vector<Migration>& migrations) {
  for (std::size_t i = 0; i < migrations.size(); ++i) {
    if (migrations[i].number != static_cast<int>(i) + 1)
      throw MigrationError("migration " + migrations[i].name + " stands in place " + std::to_string(i + 1) +
                           ": number the files 0001, 0002, ... without gaps or repeats");
  }
}

void check_history(const History& history, const std::vector<Migration>& migrations) {
  for (const auto& [number, applied] : history) {
    if (number < 1 || number > static_cast<int>(migrations.size()))
      throw MigrationError("the database has migration " + applied.first +
                           ", which this program lacks: run a program at least as new as the database");
    const Migration& ours = migrations[static_cast<std::size_t>(number) - 1];
    if (base::sha256_hex(ours.sql) != applied.second)
      throw MigrationError("migration " + ours.name + " has changed since it was applied (as " + applied.first +
                           "): restore the file and put the change into a new one");
  }
}

/// False also for a role that was not granted its tables yet.
bool has_history_table(Transaction& tx) {
  constexpr char kReadable[] = "SELECT coalesce(has_table_privilege(to_regclass('schema_migration'), 'SELECT'), false) AS found";
  return tx.execute(kReadable).row(0).boolean("found");
}

}  // namespace

std::vector<Migration> read_migrations(const std::filesystem::path& directory) {
  std::vector<Migration> migrations;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() != ".sql") continue;
    const std::string name = entry.path().filename().string();
    if (name.size() < 10 || name.find_first_not_of("0123456789") != 4 || name[4] != '_')
      throw MigrationError("migration " + name + " is not named NNNN_name.sql");
    migrations.push_back({std::stoi(name.substr(0, 4)), name, base::read_file(entry.path(), kMostMigrationBytes)});
  }
  std::sort(migrations.begin(), migrations.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  check_numbers(migrations);
  return migrations;
}

std::vector<std::string> migrate(Pool& pool, const std::vector<Migration>& migrations) {
  check_numbers(migrations);
  std::vector<std::string> applied_now;
  pool.with_advisory_lock(kMigrationLock, [&] {
    const History history = pool.transact(Scope::system(), [](Transaction& tx) {
      tx.execute_script(
          "CREATE TABLE IF NOT EXISTS schema_migration (number int PRIMARY KEY, name text NOT NULL,"
          " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())");
      return read_history(tx);
    });
    check_history(history, migrations);
    for (const Migration& migration : migrations) {
      if (history.contains(migration.number)) continue;
      pool.transact(
          Scope::system(),
          [&](Transaction& tx) {
            tx.execute_script(migration.sql);
            tx.execute("INSERT INTO schema_migration (number, name, sha256) VALUES ($1, $2, $3)",
                       {migration.number, migration.name, base::sha256_hex(migration.sql)});
          },
          kStatementLimit);
      applied_now.push_back(migration.name);
    }
  });
  return applied_now;
}

bool is_migrated(Pool& pool, const std::vector<Migration>& migrations) {
  return pool.transact(Scope::system(), [&](Transaction& tx) {
    if (!has_history_table(tx)) return false;
    const History history = read_history(tx);
    check_history(history, migrations);
    return history.size() == migrations.size();
  });
}

}  // namespace finetuned::postgres
