#include "base/batches.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

namespace finetuned::base {
namespace {

TEST(Batches, WhatComesMeanwhileIsTheNextBatchInItsOrder) {
  std::promise<void> begun, go_on;
  std::promise<std::vector<std::vector<int>>> all;
  std::vector<std::vector<int>> batches;
  const auto work = [&](const std::string&, const std::vector<int>& items) {
    batches.push_back(items);
    if (batches.size() == 1) {
      begun.set_value();
      go_on.get_future().wait();
    }
    if (items.back() == 5) all.set_value(batches);
  };
  std::optional<BlockingPool> pool(std::in_place, 2, 8);
  Batches<int> gathered(*pool, {.most = 3}, work, [](const std::vector<int>&) { FAIL(); });
  gathered.add("a", 1);
  begun.get_future().wait();
  for (int item = 2; item <= 5; ++item) gathered.add("a", item);
  go_on.set_value();
  const std::vector<std::vector<int>> expected{{1}, {2, 3, 4}, {5}};
  EXPECT_EQ(all.get_future().get(), expected) << "at most three at a time";
  pool.reset();
}

TEST(Batches, AfterACrowdTheNextBatchWaitsForOneButNotForEver) {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::size_t> sizes;
  std::promise<void> begun, go_on;
  const auto work = [&](const std::string&, const std::vector<int>& items) {
    std::unique_lock lock(mutex);
    sizes.push_back(items.size());
    changed.notify_all();
    lock.unlock();
    if (items.size() == 1 && items.front() == 0) {
      begun.set_value();
      go_on.get_future().wait();
    }
  };
  constexpr std::size_t kCrowd = Batches<int>::kCrowd;
  std::optional<BlockingPool> pool(std::in_place, 2, 8);
  Batches<int> gathered(*pool, {.most = 100, .patience = std::chrono::seconds(1)}, work, [](const std::vector<int>&) { FAIL(); });
  const auto sizes_are = [&](const std::vector<std::size_t>& expected) {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, std::chrono::seconds(20), [&] { return sizes.size() >= expected.size(); });
    EXPECT_EQ(sizes, expected);
  };
  gathered.add("a", 0);
  begun.get_future().wait();
  for (std::size_t i = 0; i < kCrowd; ++i) gathered.add("a", 1);
  go_on.set_value();
  sizes_are({1, kCrowd});
  for (std::size_t i = 0; i < kCrowd; ++i) gathered.add("a", 2);
  sizes_are({1, kCrowd, kCrowd});
  gathered.add("a", 3);
  sizes_are({1, kCrowd, kCrowd, 1});
  gathered.add("a", 4);
  sizes_are({1, kCrowd, kCrowd, 1, 1});
  pool.reset();
}

TEST(Batches, KeysDoNotWaitForEachOther) {
  std::promise<void> b_done;
  std::promise<void> a_done;
  const auto work = [&](const std::string& key, const std::vector<int>&) {
    if (key == "b") {
      b_done.set_value();
    } else {
      b_done.get_future().wait();  // would never end, were they worked on one after another
      a_done.set_value();
    }
  };
  std::optional<BlockingPool> pool(std::in_place, 2, 8);
  Batches<int> gathered(*pool, {.most = 3}, work, [](const std::vector<int>&) { FAIL(); });
  gathered.add("a", 1);
  gathered.add("b", 1);
  a_done.get_future().wait();
  pool.reset();
}

TEST(Batches, AFullPoolRefusesThemAndTakesLaterOnes) {
  std::promise<void> release, started;
  std::promise<int> worked;
  std::vector<int> refused;
  std::optional<BlockingPool> pool(std::in_place, 1, 1);
  Batches<int> gathered(
      *pool, {.most = 3}, [&](const std::string&, const std::vector<int>& items) { worked.set_value(items.front()); },
      [&](const std::vector<int>& items) { refused.insert(refused.end(), items.begin(), items.end()); });
  ASSERT_TRUE(pool->try_submit([&] {
    started.set_value();
    release.get_future().wait();
  }));
  started.get_future().wait();
  ASSERT_TRUE(pool->try_submit([] {}));  // waits in the queue: it is full now
  gathered.add("a", 1);
  EXPECT_EQ(refused, std::vector<int>{1});
  release.set_value();
  int item = 2;
  for (std::future<int> done = worked.get_future(); done.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready;)
    if (refused.back() == item - 1) gathered.add("a", item++);
  pool.reset();
}

TEST(Batches, NothingIsLostOrDoubledWhenManyAdd) {
  constexpr int kThreads = 4, kItems = 2000;
  std::mutex mutex;
  std::multiset<int> seen;
  std::map<std::string, int> under_way;
  std::optional<BlockingPool> pool(std::in_place, 4, 64);
  Batches<int> gathered(
      *pool, {.most = 7, .patience = std::chrono::microseconds(200)},
      [&](const std::string& key, const std::vector<int>& items) {
        {
          const std::lock_guard lock(mutex);
          EXPECT_EQ(++under_way[key], 1) << "one batch of a key at a time";
          seen.insert(items.begin(), items.end());
        }
        const std::lock_guard lock(mutex);
        --under_way[key];
      },
      [&](const std::vector<int>& items) {
        const std::lock_guard lock(mutex);
        seen.insert(items.begin(), items.end());
      });
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < kThreads; ++thread)
    threads.emplace_back([&gathered, thread] {
      for (int i = 0; i < kItems; ++i) gathered.add(i % 2 == 0 ? "even" : "odd", thread * kItems + i);
    });
  threads.clear();
  pool.reset();
  EXPECT_EQ(seen.size(), std::size_t{kThreads * kItems});
  EXPECT_EQ(std::set<int>(seen.begin(), seen.end()).size(), seen.size());
}

}  // namespace
}  // namespace finetuned::base
