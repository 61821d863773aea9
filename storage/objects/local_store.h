#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/files.h"
#include "storage/objects/object_store.h"

namespace finetuned::objects {

/// Objects on a local disk: `ROOT/ab/cdef...`, the id split after two digits; half-written ones in `ROOT/tmp/`.
/// Everything is opened beneath the root (openat2 with RESOLVE_BENEATH and no symbolic links).
class LocalStore final : public ObjectStore {
 public:
  /// Makes the root where it is missing. Throws base::FileError.
  explicit LocalStore(std::filesystem::path root);

  std::unique_ptr<ObjectWriter> create(std::uint64_t limit_bytes) override;
  std::unique_ptr<ObjectWriter> create_again(const std::string& id, std::uint64_t limit_bytes) override;
  std::unique_ptr<ObjectReader> open(const std::string& id) override;
  bool remove(const std::string& id) override;
  void list(const std::function<void(const ObjectInfo&)>& each) override;
  std::size_t remove_leftovers() override;
  bool writable() noexcept override;

 private:
  std::filesystem::path root_;
  base::FileDescriptor root_fd_;
};

}  // namespace finetuned::objects
