#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <thread>
#include <vector>

#include "trainer/tensor/arena.h"
#include "trainer/tensor/device.h"

namespace finetuned::tensor {
namespace {

#if defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

TEST(Buffer, IsZeroedAndAligned) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{1000}, std::size_t{5} << 20}) {
    const Buffer buffer(bytes);
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0u);
    for (std::size_t i = 0; i < bytes; i += 997)
      EXPECT_EQ(static_cast<char*>(buffer.data())[i], 0);
  }
  EXPECT_EQ(Buffer().data(), nullptr);
}

TEST(Arena, PlansBeforeItAllocatesAndGivesWhatItPlanned) {
  Arena arena;
  float* weights = nullptr;
  double* sums = nullptr;
  float* more = nullptr;
  float marker = 0;
  float* none = &marker;
  arena.reserve(weights, "weights", 100);
  arena.reserve(sums, "workspace", 3);
  arena.reserve(more, "weights", 1);
  arena.reserve(none, "workspace", 0);
  ASSERT_EQ(arena.lines().size(), 2u);
  EXPECT_EQ(arena.lines()[0].name, "weights");
  EXPECT_EQ(arena.lines()[0].bytes, 448u + 64u);
  EXPECT_EQ(arena.lines()[1].bytes, 64u);
  EXPECT_EQ(arena.bytes(), 576u);
  EXPECT_EQ(weights, nullptr);
  arena.allocate(Reference());
  EXPECT_EQ(reinterpret_cast<char*>(sums) - reinterpret_cast<char*>(weights), 448);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(more) % 64, 0u);
  weights[99] = 1;
  *more = 2;
  EXPECT_EQ(sums[0], 0);
}

TEST(ThreadPool, RunsEveryBlockOnceInEveryRound) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const std::int64_t blocks : {0, 1, 2, 3, 100}) {
      for (int round = 0; round < 50; ++round) {
        std::vector<std::atomic<int>> counts(static_cast<std::size_t>(blocks));
        std::atomic<bool> known{true};
        pool.run(blocks, [&](std::int64_t block, int thread) {
          ++counts[static_cast<std::size_t>(block)];
          if (thread < 0 || thread >= threads) known = false;
        });
        for (const auto& count : counts)
          ASSERT_EQ(count, 1);
        ASSERT_TRUE(known);
      }
    }
  }
}

TEST(ThreadPool, WhoHasEndedTakesTheOthersBlocks) {
  ThreadPool pool(2);
  std::atomic<int> others{0};
  bool all_done = false;
  pool.run(10, [&](std::int64_t block, int) {
    if (block != 0) {
      ++others;
      return;
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (others < 9 && std::chrono::steady_clock::now() < end)
      std::this_thread::yield();
    all_done = others == 9;
  });
  EXPECT_TRUE(all_done) << "blocks of the thread that was busy were left waiting for it";
}

/// Each side sleeps beyond its spinning for the other: a wake-up that is left out fails or hangs this test.
TEST(ThreadPool, WhoSleepsIsWoken) {
  ThreadPool pool(2);
  for (int round = 0; round < 4; ++round) {
    std::atomic<bool> begun{false};
    pool.run(2, [&](std::int64_t, int thread) {
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (thread == 0 && !begun && std::chrono::steady_clock::now() < end)  // until the other is awake
        std::this_thread::yield();
      if (thread == 0) return;
      begun = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the caller sleeps
    });
    ASSERT_TRUE(begun);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the worker sleeps
  }
}

/// An address space too small for their stacks ended the process without a word.
TEST(ThreadPool, MakesDoWithTheThreadsItGets) {
  if (kSanitized) GTEST_SKIP() << "sanitizers need the address space that this test takes away";
  const auto run_in_little_room = [] {
    const rlimit little{std::size_t{1} << 30, std::size_t{1} << 30};
    setrlimit(RLIMIT_AS, &little);
    ThreadPool pool(2000);
    std::atomic<int> count{0};
    pool.run(100, [&](std::int64_t, int) { ++count; });
    std::_Exit(pool.threads() < 2000 && count == 100 ? 0 : 1);
  };
  EXPECT_EXIT(run_in_little_room(), testing::ExitedWithCode(0), "");
}

TEST(Cpu, GivesEachThreadItsOwnScratch) {
  const Cpu cpu(3);
  EXPECT_EQ(cpu.scratch<char>(1) - cpu.scratch<char>(0), static_cast<std::ptrdiff_t>(Cpu::kScratchBytes));
  EXPECT_EQ(cpu.scratch_bytes(), Cpu::scratch_bytes(3));
  EXPECT_LE(Cpu(1, Isa::kAvx512).isa(), best_isa());
  EXPECT_EQ(Cpu(1, Isa::kBaseline).isa(), Isa::kBaseline);
}

}  // namespace
}  // namespace finetuned::tensor
