#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/settings.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::services {

// A backup directory, of any number of backups:
//
//   objects/ab/cdef...             objects, as LocalStore has them; each is there once, whatever number of backups has it
//   models/NAME/...                base models' directories, likewise
//   2026-11-26T19-30-00Z/          one backup, seen whole or not at all
//     database.dump                pg_dump, custom format
//     webhooks.key, ledger/...     what the data directory keeps: the keys, and the ledger's signed heads
//     finetuned.toml               the configuration, where there was a file: to be looked at, never restored
//     manifest.json                every file and object of it with its size and SHA-256

struct BackupResult {
  std::string name;                ///< the folder's
  std::uint64_t objects = 0;       ///< that its rows name
  std::uint64_t copied = 0;        ///< of them, those that were not there from an earlier backup
  std::uint64_t bytes_copied = 0;
  std::vector<std::string> damage;  ///< objects that could not be copied as their rows have them
};

/// The database first, in one snapshot; then the objects that this snapshot's rows name, which nobody removes meanwhile. So
/// the two belong together, and everything that was acknowledged before the call is in it. Objects that are damaged do not
/// keep the rest from being kept. Throws what pg_dump, the database, the store and the disk throw: nothing is seen then.
BackupResult make_backup(const base::Settings& settings, const std::string& config_file, postgres::Pool& pool,
                         objects::ObjectStore& store, const std::filesystem::path& directory);

/// Names of a directory's backups, oldest first.
std::vector<std::string> list_backups(const std::filesystem::path& directory);

struct RestoreResult {
  std::uint64_t objects = 0;
  std::uint64_t files = 0;
  std::uint64_t runs_queued = 0;  ///< jobs that were running: they go on from what they had saved
};

/// Into an empty database, and a store that lacks the backup's objects or has them already. Everything is hashed before a
/// row is made. Throws UsageError where the database has tables, a key is there and is another, or the backup is not whole.
RestoreResult restore_backup(const base::Settings& settings, postgres::Pool& pool, objects::ObjectStore& store,
                             const std::filesystem::path& directory, const std::string& name);

}  // namespace finetuned::services
