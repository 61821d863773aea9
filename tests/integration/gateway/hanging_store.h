#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "storage/objects/object_store.h"

namespace finetuned::tests {

/// Where calls on a store stop and go on, as those on a disk that hangs.
class Gate {
 public:
  /// Calls of these names hang from now on: `create`, `write`, `commit`, `open`, `read`, `close`, `remove`, `look`; without any, all do.
  void hang(std::set<std::string> calls = {}) {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    calls_ = std::move(calls);
  }
  void release() {
    const std::lock_guard lock(mutex_);
    closed_ = false;
    changed_.notify_all();
  }
  void pass(const std::string& call) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !closed_ || (!calls_.empty() && !calls_.contains(call)); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
  std::set<std::string> calls_;
};

/// A store behind a gate. Calls hang before they do what they do, a commit when it has.
class HangingStore final : public objects::ObjectStore {
 public:
  HangingStore(std::unique_ptr<objects::ObjectStore> store, std::shared_ptr<Gate> gate) : store_(std::move(store)), gate_(std::move(gate)) {}

  std::unique_ptr<objects::ObjectWriter> create(std::uint64_t limit_bytes) override {
    gate_->pass("create");
    return std::make_unique<Writer>(*gate_, store_->create(limit_bytes));
  }
  std::unique_ptr<objects::ObjectWriter> create_again(const std::string& id, std::uint64_t limit_bytes) override {
    gate_->pass("create");
    return std::make_unique<Writer>(*gate_, store_->create_again(id, limit_bytes));
  }
  std::unique_ptr<objects::ObjectReader> open(const std::string& id) override {
    gate_->pass("open");
    return std::make_unique<Reader>(*gate_, store_->open(id));
  }
  bool remove(const std::string& id) override {
    gate_->pass("remove");
    return store_->remove(id);
  }
  void list(const std::function<void(const objects::ObjectInfo&)>& each) override { store_->list(each); }
  std::size_t remove_leftovers() override { return store_->remove_leftovers(); }
  bool writable() noexcept override {
    gate_->pass("look");
    return store_->writable();
  }

 private:
  class Writer final : public objects::ObjectWriter {
   public:
    Writer(Gate& gate, std::unique_ptr<objects::ObjectWriter> writer) : gate_(gate), writer_(std::move(writer)) {}
    const std::string& id() const override { return writer_->id(); }
    void write(std::string_view data) override {
      gate_.pass("write");
      writer_->write(data);
    }
    std::uint64_t bytes_written() const override { return writer_->bytes_written(); }
    objects::StoredObject commit() override {
      auto object = writer_->commit();
      gate_.pass("commit");
      return object;
    }

   private:
    Gate& gate_;
    std::unique_ptr<objects::ObjectWriter> writer_;
  };

  class Reader final : public objects::ObjectReader {
   public:
    Reader(Gate& gate, std::unique_ptr<objects::ObjectReader> reader) : gate_(gate), reader_(std::move(reader)) {}
    ~Reader() override { gate_.pass("close"); }
    std::uint64_t size() const override { return reader_->size(); }
    std::size_t read(std::uint64_t offset, char* into, std::size_t size) override {
      gate_.pass("read");
      return reader_->read(offset, into, size);
    }

   private:
    Gate& gate_;
    std::unique_ptr<objects::ObjectReader> reader_;
  };

  std::unique_ptr<objects::ObjectStore> store_;
  std::shared_ptr<Gate> gate_;
};

}  // namespace finetuned::tests
