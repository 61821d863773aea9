#include "services/gateway/request_ids.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/ids.h"

namespace finetuned::gateway {
namespace {

TEST(RequestIds, DoNotRepeatOnAnyThread) {
  constexpr int kEach = 5000;  // more than are made of one piece of randomness
  std::mutex mutex;
  std::set<std::string> seen;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < kEach; ++n) {
        const std::string id = make_request_id();
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(base::is_id(id, "req")) << id;
        EXPECT_EQ(id.size(), base::make_id("req").size());
        seen.insert(id);
      }
    });
  threads.clear();
  EXPECT_EQ(seen.size(), 4u * kEach);
}

}  // namespace
}  // namespace finetuned::gateway
