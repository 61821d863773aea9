#include "tests/cuda_emulator/emulator.h"

#include <cuda_bf16.h>
#include <gtest/gtest.h>
#include <vector>

#include "trainer/kernels/cuda/sums.cuh"

namespace finetuned::cuda_emulator {
namespace {

TEST(Emulator, ABlocksThreadsMeetAtTheirBarriers) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    set_seed(seed);
    std::vector<int> values(200);
    std::vector<int> sums(2);
    run_grid({2, 1, 1}, {100, 1, 1}, 100 * sizeof(int), [&] {
      auto* shared = reinterpret_cast<int*>(dynamic_shared());
      const unsigned me = self().thread.x;
      shared[99 - me] = static_cast<int>(me);
      wait_for_block();
      values[self().block.x * 100 + me] = shared[me];
      wait_for_block();
      if (me == 0)
        for (int i = 0; i < 100; ++i) sums[self().block.x] += shared[i];
    });
    for (int i = 0; i < 200; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], 99 - i % 100);
    EXPECT_EQ(sums, (std::vector<int>{4950, 4950}));
  }
}

TEST(Emulator, AMissingBarrierShows) {
  std::vector<int> seen(64);
  int wrong = 0;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    set_seed(seed);
    run_grid({1, 1, 1}, {64, 1, 1}, 64 * sizeof(int), [&] {
      auto* shared = reinterpret_cast<int*>(dynamic_shared());
      const unsigned me = self().thread.x;
      shared[me] = static_cast<int>(me);
      seen[me] = shared[63 - me];
    });
    for (int i = 0; i < 64; ++i) wrong += seen[static_cast<std::size_t>(i)] == 63 - i ? 0 : 1;
  }
  EXPECT_GT(wrong, 0);
}

/// What the slower warp still reads is written over by the faster one, which is a loop's turn ahead.
TEST(Emulator, AMissingBarrierBeforeTheNextTurnShows) {
  int wrong = 0;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    set_seed(seed);
    run_grid({1, 1, 1}, {64, 1, 1}, 64 * sizeof(int), [&] {
      auto* shared = reinterpret_cast<int*>(dynamic_shared());
      const unsigned me = self().thread.x;
      for (int turn = 0; turn < 3; ++turn) {
        shared[me] = turn;
        wait_for_block();
        exchange_in_warp("x", 1);
        wrong += shared[63 - me] == turn ? 0 : 1;
      }
    });
  }
  EXPECT_GT(wrong, 0);
}

TEST(Emulator, SharedMemoryEndsWhereItWasAskedToEnd) {
  const auto beyond = [] { run_grid({1, 1, 1}, {1, 1, 1}, 64, [] { static_cast<volatile std::byte*>(dynamic_shared())[64] = std::byte{1}; }); };
  EXPECT_DEATH(beyond(), "");
}

TEST(Emulator, AWarpsLanesExchange) {
  std::vector<double> sums(64);
  run_grid({1, 1, 1}, {64, 1, 1}, 0, [&] {
    const unsigned me = self().thread.x;
    sums[me] = kernels::cuda::warp_sum(static_cast<double>(me));
  });
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(sums[i], i < 32 ? 496 : 496 + 32 * 32);
}

TEST(Emulator, ThreadsThatWaitAtDifferentPlacesAreAnError) {
  EXPECT_THROW(run_grid({1, 1, 1}, {64, 1, 1}, 0,
                        [] {
                          if (self().thread.x < 32) {
                            wait_for_block();
                          } else if (self().thread.x % 2 == 0) {
                            exchange_in_warp("x", 1);
                          } else {
                            wait_for_block();
                          }
                        }),
               std::logic_error);
}

TEST(Emulator, MemoryEndsWhereItWasAskedToEnd) {
  auto* memory = static_cast<char*>(allocate(32));
  memory[0] = memory[31] = 1;
  EXPECT_DEATH(static_cast<volatile char*>(memory)[32] = 1, "");
  release(memory);
}

TEST(Emulator, AnMmaIsAMatrixProduct) {
  // a [16, 16] and b [16, 8] of small whole numbers, in the fragments of the PTX ISA.
  const auto a = [](unsigned row, unsigned k) { return static_cast<float>(static_cast<int>(row * 3 + k * 5) % 7 - 3); };
  const auto b = [](unsigned k, unsigned column) { return static_cast<float>(static_cast<int>(k * 2 + column * 11) % 5 - 2); };
  std::vector<float> out(16 * 8);
  run_grid({1, 1, 1}, {32, 1, 1}, 0, [&] {
    using Words = kernels::cuda::Pack<8>;
    const unsigned lane = self().lane, group = lane / 4, pair = lane % 4 * 2;
    const std::uint32_t of_a[4] = {Words::both(a(group, pair), a(group, pair + 1)), Words::both(a(group + 8, pair), a(group + 8, pair + 1)),
                                   Words::both(a(group, pair + 8), a(group, pair + 9)),
                                   Words::both(a(group + 8, pair + 8), a(group + 8, pair + 9))};
    const std::uint32_t of_b[2] = {Words::both(b(pair, group), b(pair + 1, group)), Words::both(b(pair + 8, group), b(pair + 9, group))};
    float d[4] = {1, 1, 1, 1};
    mma_m16n8k16(d, of_a, of_b);
    for (unsigned i = 0; i < 4; ++i) out[(group + i / 2 * 8) * 8 + pair + i % 2] = d[i];
  });
  for (unsigned row = 0; row < 16; ++row)
    for (unsigned column = 0; column < 8; ++column) {
      float sum = 1;
      for (unsigned k = 0; k < 16; ++k) sum += a(row, k) * b(k, column);
      EXPECT_EQ(out[row * 8 + column], sum) << row << ", " << column;
    }
}

}  // namespace
}  // namespace finetuned::cuda_emulator
