#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include "base/settings.h"
#include "base/signing.h"
#include "storage/postgres/pool.h"
#include "storage/redis/client.h"

namespace finetuned::services {

/// What stands on the command line before or behind any command.
struct ProgramOptions {
  std::string config_file;  ///< empty: no file, the environment alone

  base::Settings settings() const;
};

// Where the parts of the data directory lie.
std::filesystem::path objects_directory(const base::Settings& settings);
std::filesystem::path models_directory(const base::Settings& settings);
std::filesystem::path jobs_directory(const base::Settings& settings);
std::filesystem::path ledger_directory(const base::Settings& settings);

/// What the ledger's heads are signed by: ledger.key_file's, or the data directory's. Throws ConfigError, FileError.
base::SigningKey ledger_key(const base::Settings& settings);

/// `application` shows in pg_stat_activity. Throws ConfigError where no database is configured.
postgres::PoolOptions pool_options(const base::Settings& settings, const std::string& application,
                                   std::size_t connections);
/// The same with the tables' owner in place of the platform's role, where there are two: for what makes or reads all tables.
base::Settings as_owner(base::Settings settings);
/// Gives the platform's role what it needs of the owner's tables; nothing where there is one role.
void grant_tables(const base::Settings& settings);
redis::Address redis_address(const base::Settings& settings);

/// `HOST:PID`: this process, in leases and logs.
std::string process_name();

}  // namespace finetuned::services
