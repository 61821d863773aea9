#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <iterator>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/offload.h"

namespace finetuned::base {

/// Gathers items by key while others of the same key are worked on: of each key one batch is under way at a time, and
/// what comes meanwhile is the next one. So a batch holds nothing that came after its work began. Thread-safe.
template <class Item>
class Batches {
 public:
  /// `most`: items of a batch. `patience`: where the last batch had several (kCrowd), the next one waits so long, on its
  /// thread, for as many to come again: clients who were answered together ask again together, and many small batches
  /// cost more than a few large ones.
  struct Limits {
    std::size_t most = 1;
    std::chrono::microseconds patience{0};
  };
  static constexpr std::size_t kCrowd = 8;

  /// `work(key, items)` runs on a thread of `pool`; `refuse(items)` anywhere, where the pool is full or closing. Neither
  /// throws. The pool outlives this, with its threads joined before this is destroyed.
  Batches(BlockingPool& pool, Limits limits, std::function<void(const std::string&, std::vector<Item>)> work,
          std::function<void(std::vector<Item>)> refuse)
      : pool_(pool), limits_(limits), work_(std::move(work)), refuse_(std::move(refuse)) {}

  /// Does not block.
  void add(const std::string& key, Item item) {
    bool first = false;
    {
      const std::lock_guard lock(mutex_);
      const auto [place, made] = keys_.try_emplace(key);
      Waiting& waiting = place->second;
      waiting.items.push_back(std::move(item));
      first = made;
      if (waiting.waited_for && waiting.items.size() >= waiting.last) waiting.enough.notify_one();
    }
    if (first) begin(key);
  }

 private:
  /// A key is there while a batch of it is under way.
  struct Waiting {
    std::vector<Item> items;
    std::size_t last = 0;  ///< items of the last batch
    bool waited_for = false;
    std::condition_variable enough;
  };

  void begin(const std::string& key) {
    if (pool_.try_submit([this, key] { work_on(key); })) return;
    std::vector<Item> all;
    {
      const std::lock_guard lock(mutex_);
      all = std::move(keys_.at(key).items);
      keys_.erase(key);
    }
    if (!all.empty()) refuse_(std::move(all));
  }

  void work_on(const std::string& key) {
    std::vector<Item> batch = take(key);
    if (batch.empty()) return;
    work_(key, std::move(batch));
    {
      const std::lock_guard lock(mutex_);
      const auto found = keys_.find(key);
      if (found->second.items.empty() && !is_patient(found->second)) {
        keys_.erase(found);
        return;
      }
    }
    begin(key);  // behind what else the pool has to do
  }

  bool is_patient(const Waiting& waiting) const { return limits_.patience.count() > 0 && waiting.last >= kCrowd; }

  /// The next batch; where it is empty, the key is gone.
  std::vector<Item> take(const std::string& key) {
    std::unique_lock lock(mutex_);
    Waiting& waiting = keys_.at(key);  // others' keys may come and go: it stays where it is
    if (is_patient(waiting)) {
      waiting.waited_for = true;
      waiting.enough.wait_for(lock, limits_.patience, [&waiting] { return waiting.items.size() >= waiting.last; });
      waiting.waited_for = false;
    }
    std::vector<Item>& items = waiting.items;
    const auto end = items.begin() + static_cast<std::ptrdiff_t>(std::min(items.size(), limits_.most));
    std::vector<Item> batch(std::make_move_iterator(items.begin()), std::make_move_iterator(end));
    items.erase(items.begin(), end);
    waiting.last = batch.size();
    if (batch.empty()) keys_.erase(key);
    return batch;
  }

  BlockingPool& pool_;
  const Limits limits_;
  const std::function<void(const std::string&, std::vector<Item>)> work_;
  const std::function<void(std::vector<Item>)> refuse_;
  std::mutex mutex_;
  std::unordered_map<std::string, Waiting> keys_;
};

}  // namespace finetuned::base
