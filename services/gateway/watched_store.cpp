#include "services/gateway/watched_store.h"

#include <chrono>
#include <utility>

#include "base/log.h"

namespace finetuned::gateway {

namespace {

constexpr std::chrono::milliseconds kLookPatience{2500};  // a bucket's own look ends after two seconds
constexpr std::chrono::hours kManyCalls{1};               // of one sweep, for which nobody waits
constexpr std::uint64_t kLeastBytesPerMillisecond = 10'000;  // of a disk that writes out what was written before

template <class Call>
auto watched(const char* what, Call call, std::chrono::milliseconds longer = {}) {
  ObjectCalls::Span span(what, longer);
  if constexpr (std::is_void_v<std::invoke_result_t<Call&>>) {
    call();
    if (!span.end()) throw Unanswered();
  } else {
    auto result = call();
    if (!span.end()) throw Unanswered();
    return result;
  }
}

class Writer final : public objects::ObjectWriter {
 public:
  Writer(objects::ObjectStore& store, std::unique_ptr<objects::ObjectWriter> writer) : store_(store), writer_(std::move(writer)) {}

  /// It removes what it wrote. At the process's end that is elsewhere.
  ~Writer() override {
    if (!ObjectCalls::here()) return;
    const ObjectCalls::Span span("drop");
    writer_.reset();
  }

  const std::string& id() const override { return writer_->id(); }
  void write(std::string_view data) override {
    watched("write", [&] { writer_->write(data); });
  }
  std::uint64_t bytes_written() const override { return writer_->bytes_written(); }

  objects::StoredObject commit() override {
    ObjectCalls::Span span("commit", std::chrono::milliseconds(writer_->bytes_written() / kLeastBytesPerMillisecond));
    auto object = writer_->commit();
    if (span.end()) return object;
    remove(object.id);
    throw Unanswered();
  }

 private:
  /// No row will ever name it.
  void remove(const std::string& id) {
    try {
      store_.remove(id);
    } catch (const std::exception& error) {
      base::log_warn("an object that was committed too late stays", {{"object", id}, {"error", error.what()}});
    }
  }

  objects::ObjectStore& store_;
  std::unique_ptr<objects::ObjectWriter> writer_;
};

class Reader final : public objects::ObjectReader {
 public:
  explicit Reader(std::unique_ptr<objects::ObjectReader> reader) : reader_(std::move(reader)) {}

  /// Closing can hang, too. At the process's end it is elsewhere.
  ~Reader() override {
    if (!ObjectCalls::here()) return;
    const ObjectCalls::Span span("close");
    reader_.reset();
  }

  std::uint64_t size() const override { return reader_->size(); }
  std::size_t read(std::uint64_t offset, char* into, std::size_t size) override {
    return watched("read", [&] { return reader_->read(offset, into, size); });
  }

 private:
  std::unique_ptr<objects::ObjectReader> reader_;
};

}  // namespace

std::unique_ptr<objects::ObjectWriter> WatchedStore::create(std::uint64_t limit_bytes) {
  return std::make_unique<Writer>(store_, watched("create", [&] { return store_.create(limit_bytes); }));
}

std::unique_ptr<objects::ObjectWriter> WatchedStore::create_again(const std::string& id, std::uint64_t limit_bytes) {
  return std::make_unique<Writer>(store_, watched("create", [&] { return store_.create_again(id, limit_bytes); }));
}

std::unique_ptr<objects::ObjectReader> WatchedStore::open(const std::string& id) {
  return std::make_unique<Reader>(watched("open", [&] { return store_.open(id); }));
}

bool WatchedStore::remove(const std::string& id) {
  return watched("remove", [&] { return store_.remove(id); });
}

void WatchedStore::list(const std::function<void(const objects::ObjectInfo&)>& each) {
  watched("list", [&] { store_.list(each); }, kManyCalls);
}

std::size_t WatchedStore::remove_leftovers() {
  return watched("remove leftovers", [&] { return store_.remove_leftovers(); }, kManyCalls);
}

/// On one of the threads. Where it is given up it goes on, and says what it found in the end.
bool WatchedStore::look() {
  {
    const std::lock_guard lock(mutex_);
    look_ = Look::kRunning;
    running_since_ = std::chrono::steady_clock::now();
    looked_.notify_all();
  }
  const bool writable = [this] {
    const ObjectCalls::Span span("look");
    return store_.writable();
  }();
  const std::lock_guard lock(mutex_);
  look_ = Look::kNone;
  writable_ = writable;
  looked_.notify_all();
  return writable;
}

bool WatchedStore::writable() noexcept {
  if (calls_.all_hang()) return false;
  std::unique_lock lock(mutex_);
  const bool begins = look_ == Look::kNone;
  if (begins) {
    look_ = Look::kQueued;
    lock.unlock();
    auto never_began = [this](std::optional<bool>, const std::exception_ptr&) {
      const std::lock_guard done(mutex_);
      if (look_ == Look::kQueued) look_ = Look::kNone;
      looked_.notify_all();
    };
    calls_.begin([this] { return look(); }, std::move(never_began));
    lock.lock();
    looked_.wait_for(lock, kLookPatience, [this] { return look_ != Look::kQueued; });
    if (look_ == Look::kRunning) looked_.wait_until(lock, running_since_ + kLookPatience, [this] { return look_ == Look::kNone; });
  }
  const bool hangs = look_ == Look::kRunning && std::chrono::steady_clock::now() - running_since_ >= kLookPatience;
  return !hangs && writable_;  // threads that are all busy say nothing of the store
}

}  // namespace finetuned::gateway
