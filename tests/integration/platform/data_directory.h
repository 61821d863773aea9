#pragma once

#include <filesystem>
#include <string>

#include "storage/file_store.h"
#include "storage/model_store.h"
#include "storage/objects/local_store.h"
#include "storage/organization_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::tests {

/// A platform's data directory of a test's own, removed at its end.
class DataDirectory {
 public:
  DataDirectory();
  ~DataDirectory();
  DataDirectory(const DataDirectory&) = delete;
  DataDirectory& operator=(const DataDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  objects::LocalStore& store() { return store_; }
  /// Objects on disk, half-written ones too.
  int object_count() const;

  /// Stores `text` as a `fine-tune` file of the project in state `uploaded`, as the gateway does.
  storage::File upload(postgres::Pool& pool, const storage::Project& project, const std::string& text);
  /// Imports write_tiny_model(seed, context, hidden) under a fresh name.
  storage::BaseModel import_tiny_model(postgres::Pool& pool, std::uint64_t seed = 1, int context = 256, int hidden = 32);

 private:
  std::filesystem::path path_;
  objects::LocalStore store_;
};

}  // namespace finetuned::tests
