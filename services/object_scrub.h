#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::services {

struct ScrubOptions {
  bool delete_orphans = false;
  std::uint64_t bytes_per_second = 0;  ///< that are read at most; 0: as fast as they come
  std::int64_t orphan_seconds = 3'600;  ///< an object that no row names is let be for so long: its row may be to come
  std::function<void(std::uint64_t objects, std::uint64_t bytes)> progress;  ///< so much is done; after each object
};

struct ScrubFinding {
  enum class Kind { kDamaged, kMissing, kOrphan };
  Kind kind = Kind::kDamaged;
  std::string object;
  std::string detail;
};

struct ScrubResult {
  std::uint64_t objects = 0;  ///< in the store
  std::uint64_t bytes = 0;    ///< read
  std::uint64_t hashed = 0;   ///< objects whose SHA-256 a row tells, and that were read again
  std::uint64_t orphans_removed = 0;
  std::vector<ScrubFinding> findings;

  bool damaged() const;  ///< something is damaged or missing; an orphan is neither
};

/// Reads every object again and holds it against the rows that name it: its size, its SHA-256 where a row tells it; and looks for
/// objects without rows and rows without objects. What comes and goes meanwhile is no finding. Throws what the database
/// throws, and StorageFault.
ScrubResult scrub_objects(postgres::Pool& pool, objects::ObjectStore& store, const ScrubOptions& options);

}  // namespace finetuned::services
