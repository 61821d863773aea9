#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "storage/objects/object_store.h"

namespace finetuned::tests {

/// An object store whose disk fails, from fail() until mend(): nothing is read, and nothing is committed.
class FailingStore final : public objects::ObjectStore {
 public:
  enum class Fault { kNone, kFull, kUnavailable };

  explicit FailingStore(objects::ObjectStore& store) : store_(store) {}

  void fail(Fault fault) { fault_ = fault; }
  void mend() { fault_ = Fault::kNone; }
  /// So many commits still succeed, then the store fails. For a fault in the middle of several.
  void fail_after_commits(int commits, Fault fault) {
    later_ = fault;
    commits_ = commits;
  }

  std::unique_ptr<objects::ObjectWriter> create(std::uint64_t limit_bytes) override {
    return std::make_unique<Writer>(*this, store_.create(limit_bytes));
  }
  std::unique_ptr<objects::ObjectWriter> create_again(const std::string& id, std::uint64_t limit_bytes) override {
    return std::make_unique<Writer>(*this, store_.create_again(id, limit_bytes));
  }
  std::unique_ptr<objects::ObjectReader> open(const std::string& id) override {
    check();
    return store_.open(id);
  }
  bool remove(const std::string& id) override { return store_.remove(id); }
  void list(const std::function<void(const objects::ObjectInfo&)>& each) override { store_.list(each); }
  std::size_t remove_leftovers() override { return store_.remove_leftovers(); }
  bool writable() noexcept override { return store_.writable(); }

 private:
  class Writer final : public objects::ObjectWriter {
   public:
    Writer(FailingStore& owner, std::unique_ptr<objects::ObjectWriter> writer) : owner_(owner), writer_(std::move(writer)) {}
    const std::string& id() const override { return writer_->id(); }
    void write(std::string_view data) override { writer_->write(data); }
    std::uint64_t bytes_written() const override { return writer_->bytes_written(); }
    objects::StoredObject commit() override {
      if (owner_.commits_ >= 0 && owner_.commits_-- == 0) owner_.fault_ = owner_.later_;
      owner_.check();
      return writer_->commit();
    }

   private:
    FailingStore& owner_;
    std::unique_ptr<objects::ObjectWriter> writer_;
  };

  void check() const {
    if (fault_ == Fault::kFull) throw objects::StorageFull("a test's disk");
    if (fault_ == Fault::kUnavailable) throw objects::StorageUnavailable("a test's disk");
  }

  objects::ObjectStore& store_;
  std::atomic<Fault> fault_{Fault::kNone};
  Fault later_ = Fault::kNone;
  std::atomic<int> commits_{-1};
};

}  // namespace finetuned::tests
