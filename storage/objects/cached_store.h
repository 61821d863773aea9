#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "storage/objects/object_store.h"

namespace finetuned::objects {

/// Another store, whose objects are copied to a local directory when they are first read. A copy's name is `ID-SHA256` of what
/// was fetched, and a copy is hashed again before it is read: one that a disk has altered is fetched anew. The copies take
/// `most_bytes` at most; those that were read longest ago make room. Several processes may share a directory. Where it
/// fails, or an object is too large for it, the object is read from the other store.
class CachedStore final : public ObjectStore {
 public:
  CachedStore(std::unique_ptr<ObjectStore> store, std::filesystem::path directory, std::uint64_t most_bytes);

  std::unique_ptr<ObjectWriter> create(std::uint64_t limit_bytes) override { return store_->create(limit_bytes); }
  std::unique_ptr<ObjectWriter> create_again(const std::string& id, std::uint64_t limit_bytes) override {
    return store_->create_again(id, limit_bytes);
  }
  std::unique_ptr<ObjectReader> open(const std::string& id) override;
  bool remove(const std::string& id) override;
  void list(const std::function<void(const ObjectInfo&)>& each) override { store_->list(each); }
  std::size_t remove_leftovers() override;
  bool writable() noexcept override { return store_->writable(); }

 private:
  std::unique_ptr<ObjectReader> open_copy(const std::string& id);
  std::unique_ptr<ObjectReader> fetch(const std::string& id, ObjectReader& from);
  void make_room(std::uint64_t bytes);

  const std::unique_ptr<ObjectStore> store_;
  const std::filesystem::path directory_;
  const std::uint64_t most_bytes_;
  std::mutex mutex_;  ///< held while a copy is made: two threads do not fetch the same object
};

}  // namespace finetuned::objects
