#include "services/gateway/slots.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace finetuned::gateway {
namespace {

TEST(Slots, EachKeyHasItsOwn) {
  Slots slots(2);
  const auto first = slots.take("a");
  {
    const auto second = slots.take("a");
    EXPECT_TRUE(first && second);
    EXPECT_FALSE(slots.take("a"));
    EXPECT_TRUE(slots.take("b"));
  }
  EXPECT_TRUE(slots.take("a")) << "a place given back is taken again";
}

TEST(Slots, AMovedOneIsGivenBackOnce) {
  Slots slots(1);
  {
    auto slot = slots.take("a");
    ASSERT_TRUE(slot);
    const Slots::Slot moved = std::move(*slot);
    slot.reset();
    EXPECT_FALSE(slots.take("a"));
  }
  EXPECT_TRUE(slots.take("a"));
}

TEST(Slots, ThreadsNeverHaveMoreThanTheBound) {
  Slots slots(3);
  std::atomic<int> now{0}, most{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        for (int round = 0; round < 2000; ++round) {
          const auto slot = slots.take("a");
          if (!slot) continue;
          const int taken = ++now;
          int seen = most;
          while (taken > seen && !most.compare_exchange_weak(seen, taken)) {
          }
          --now;
        }
      });
  }
  EXPECT_LE(most, 3);
  EXPECT_GE(most, 1);
}

}  // namespace
}  // namespace finetuned::gateway
