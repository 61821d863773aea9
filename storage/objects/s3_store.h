#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>

#include "storage/objects/object_store.h"
#include "storage/objects/s3_client.h"

namespace finetuned::objects {

/// Objects in a bucket: `PREFIXab/cdef...`, the id split after two digits as LocalStore has it, so that a store moves by copying
/// its files. An object of up to kPartBytes is one PUT, a larger one an upload in parts that is aborted unless it is
/// completed: either is seen whole or not at all. Each piece goes with its MD5, which the server checks, and comes back as an
/// ETag, which is compared. A writer holds one part in memory, a reader kWindowBytes.
class S3Store final : public ObjectStore {
 public:
  static constexpr std::size_t kPartBytes = 8 << 20;
  static constexpr std::size_t kWindowBytes = 4 << 20;

  /// Throws ConfigError. Asks nothing of the bucket yet.
  explicit S3Store(S3Options options);

  std::unique_ptr<ObjectWriter> create(std::uint64_t limit_bytes) override;
  std::unique_ptr<ObjectWriter> create_again(const std::string& id, std::uint64_t limit_bytes) override;
  std::unique_ptr<ObjectReader> open(const std::string& id) override;
  bool remove(const std::string& id) override;
  void list(const std::function<void(const ObjectInfo&)>& each) override;
  /// Aborts uploads in parts that were begun more than a day ago; once an hour.
  std::size_t remove_leftovers() override;
  bool writable() noexcept override;

 private:
  S3Client client_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point next_sweep_{};  ///< guarded by mutex_
};

}  // namespace finetuned::objects
