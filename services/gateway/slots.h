#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace finetuned::gateway {

/// At most so many things at once for each key. Thread-safe; outlives what it gave.
class Slots {
 public:
  explicit Slots(std::size_t most) : most_(most) {}

  /// One place, until it is destroyed.
  class Slot {
   public:
    Slot(Slots& slots, std::string key) : slots_(&slots), key_(std::move(key)) {}
    Slot(Slot&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)), key_(std::move(other.key_)) {}
    Slot& operator=(Slot&&) = delete;
    ~Slot() {
      if (slots_) slots_->release(key_);
    }

   private:
    Slots* slots_;
    std::string key_;
  };

  /// Empty while the key has all its places taken.
  std::optional<Slot> take(const std::string& key) {
    const std::lock_guard lock(mutex_);
    std::size_t& taken = taken_[key];
    if (taken >= most_) return std::nullopt;
    ++taken;
    return std::optional<Slot>(std::in_place, *this, key);
  }

 private:
  void release(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto found = taken_.find(key);
    if (--found->second == 0) taken_.erase(found);
  }

  const std::size_t most_;
  std::mutex mutex_;
  std::map<std::string, std::size_t> taken_;  ///< keys with at least one place taken
};

}  // namespace finetuned::gateway
