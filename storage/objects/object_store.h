#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/errors.h"

namespace finetuned::objects {

/// The store could not do what it was asked for, by no doing of who asked. Nothing half-written stays.
struct StorageFault : base::ApiError {
  std::string detail;  ///< for the log; clients do not see it

 protected:
  StorageFault(base::ApiError error, std::string for_the_log) : base::ApiError(std::move(error)), detail(std::move(for_the_log)) {}
};

/// Of status 507: the disk is full.
struct StorageFull : StorageFault {
  explicit StorageFull(std::string detail = "");
};

/// Of status 503, to be tried again: the disk or the store's server fails, or does not answer in time.
struct StorageUnavailable : StorageFault {
  explicit StorageUnavailable(std::string detail);
};

/// An ApiError of status 413: more bytes came than the writer's limit.
struct ObjectTooLarge : base::ApiError {
  explicit ObjectTooLarge(std::uint64_t limit_bytes);
};

/// The store has no such object: a row names one that is gone. Ours, hence 500 at the edge unless caught.
struct ObjectMissing : std::runtime_error {
  explicit ObjectMissing(const std::string& id);
};

struct StoredObject {
  std::string id;  ///< 32 lower-case hex digits, made here
  std::uint64_t bytes = 0;
  std::string sha256;  ///< hex
};

/// What a store tells of an object without reading it.
struct ObjectInfo {
  std::string id;
  std::uint64_t bytes = 0;
  std::int64_t modified = 0;  ///< Unix time
};

/// Writes one object. It exists whole after commit(), and not at all before; destroyed uncommitted, it leaves nothing.
class ObjectWriter {
 public:
  virtual ~ObjectWriter() = default;
  /// The object's, from the beginning: a row can tell of it before it exists.
  virtual const std::string& id() const = 0;
  /// Throws ObjectTooLarge, StorageFault.
  virtual void write(std::string_view data) = 0;
  virtual std::uint64_t bytes_written() const = 0;
  /// On disk, names included, when it returns. Once.
  virtual StoredObject commit() = 0;
};

class ObjectReader {
 public:
  virtual ~ObjectReader() = default;
  virtual std::uint64_t size() const = 0;
  /// Reads up to `size` bytes at `offset` into `into`; fewer only at the end. Returns how many.
  virtual std::size_t read(std::uint64_t offset, char* into, std::size_t size) = 0;
};

/// Immutable objects: datasets, checkpoints, adapters. Thread-safe; a writer or reader belongs to one thread at a time.
/// Everything throws StorageFault.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;
  virtual std::unique_ptr<ObjectWriter> create(std::uint64_t limit_bytes) = 0;
  /// The same under an id that the object had before, in this store or another: from a backup.
  virtual std::unique_ptr<ObjectWriter> create_again(const std::string& id, std::uint64_t limit_bytes) = 0;
  /// Throws ObjectMissing; also for anything that is not an id of this store (no path gets through).
  virtual std::unique_ptr<ObjectReader> open(const std::string& id) = 0;
  /// False when there was none.
  virtual bool remove(const std::string& id) = 0;
  /// Every object, in any order; one that comes or goes meanwhile may be among them.
  virtual void list(const std::function<void(const ObjectInfo&)>& each) = 0;
  /// Removes half-written objects whose writers are gone. Returns how many.
  virtual std::size_t remove_leftovers() = 0;
  /// Whether it can be written to, as far as can be told without writing: /readyz.
  virtual bool writable() noexcept = 0;
};

/// 32 lower-case hex digits, at random; and whether `id` is such.
std::string make_object_id();
bool is_object_id(const std::string& id);

/// Stores a local file's content as a new object, whose id `begins` hears before anything of it is written.
StoredObject store_file(ObjectStore& store, const std::filesystem::path& file,
                        const std::function<void(const std::string& id)>& begins = {});
/// Writes an object's content to a new local file; an existing one is replaced. Not durable: scratch of a job.
void fetch_file(ObjectStore& store, const std::string& id, const std::filesystem::path& to);
/// The whole object. Throws base::FormatError where it is larger than `most_bytes`.
std::string read_object(ObjectStore& store, const std::string& id, std::uint64_t most_bytes);

}  // namespace finetuned::objects
