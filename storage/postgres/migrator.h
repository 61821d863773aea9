#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "storage/postgres/pool.h"

namespace finetuned::postgres {

/// One numbered file of migrations/.
struct Migration {
  int number = 0;    ///< from 1, without gaps
  std::string name;  ///< `0001_tenants.sql`
  std::string sql;
};

/// The database's history and the program's migrations do not agree; the message names the file and the remedy.
struct MigrationError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The migrations this program was built with, in order.
std::vector<Migration> embedded_migrations();

/// `NNNN_name.sql` files of a directory, in order. Throws MigrationError on a bad name, a gap or a repeated number.
std::vector<Migration> read_migrations(const std::filesystem::path& directory);

/// Applies what the database has not seen yet, one transaction each, under an advisory lock: two at once do the work
/// once. Forward only. Throws MigrationError, having changed nothing, when an applied file has changed (by SHA-256),
/// or when the database has one that `migrations` lacks. Returns the names applied now.
std::vector<std::string> migrate(Pool& pool, const std::vector<Migration>& migrations);

/// Whether all of `migrations` are applied: /readyz and the start of each role.
bool is_migrated(Pool& pool, const std::vector<Migration>& migrations);

}  // namespace finetuned::postgres
