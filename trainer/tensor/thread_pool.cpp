#include "trainer/tensor/thread_pool.h"

#include <algorithm>
#include <system_error>

#include "base/expects.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace finetuned::tensor {

namespace {

// Kernels follow each other within microseconds: a worker looks for the next for about 20 us before it
// sleeps.
constexpr int kSpins = 2000;

constexpr std::int64_t kMostBlocks = 0xffffffff;

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

void ThreadPool::Range::set(std::int64_t begin, std::int64_t end) {
  left = static_cast<std::uint64_t>(begin) << 32 | static_cast<std::uint64_t>(end);
}

std::int64_t ThreadPool::Range::take_first() {
  std::uint64_t seen = left;
  while (seen >> 32 < (seen & kMostBlocks))
    if (left.compare_exchange_weak(seen, seen + (std::uint64_t{1} << 32)))
      return static_cast<std::int64_t>(seen >> 32);
  return -1;
}

std::int64_t ThreadPool::Range::take_last() {
  std::uint64_t seen = left;
  while (seen >> 32 < (seen & kMostBlocks))
    if (left.compare_exchange_weak(seen, seen - 1))
      return static_cast<std::int64_t>((seen & kMostBlocks) - 1);
  return -1;
}

ThreadPool::ThreadPool(int threads)
    : ranges_(std::make_unique<Range[]>(static_cast<std::size_t>(std::max(1, threads)))) {
  base::expects(threads >= 1, "a pool has at least its caller's thread");
  workers_.reserve(static_cast<std::size_t>(threads));
  try {
    for (int thread = 1; thread < threads; ++thread)
      workers_.emplace_back([this, thread] { worker(thread); });
  } catch (const std::system_error&) {
    // The system gives no more threads; those there are do the same work.
  }
}

ThreadPool::~ThreadPool() {
  stopping_ = true;
  ++round_;
  round_.notify_all();
  for (auto& worker : workers_)
    worker.join();
}

void ThreadPool::run_blocks(std::int64_t blocks, void* context, Block block) {
  if (blocks <= 0) return;
  if (workers_.empty() || blocks == 1) {
    for (std::int64_t i = 0; i < blocks; ++i)
      block(context, i, 0);
    return;
  }
  base::expects(blocks <= kMostBlocks, "blocks are numbered in 32 bits");
  block_ = block;
  context_ = context;
  for (int thread = 0; thread < threads(); ++thread)
    ranges_[static_cast<std::size_t>(thread)].set(blocks * thread / threads(),
                                                  blocks * (thread + 1) / threads());
  busy_ = static_cast<int>(workers_.size());
  ++round_;
  round_.notify_all();
  work_off(0);
  for (int spins = 0;; ++spins) {
    const int busy = busy_;
    if (busy == 0) return;
    if (spins < kSpins) {
      relax();
    } else {
      busy_.wait(busy);
    }
  }
}

void ThreadPool::work_off(int thread) {
  const auto work = [&](std::int64_t block) { block_(context_, block, thread); };
  for (std::int64_t block; (block = ranges_[static_cast<std::size_t>(thread)].take_first()) >= 0;)
    work(block);
  for (int other = 1; other < threads(); ++other) {
    Range& range = ranges_[static_cast<std::size_t>((thread + other) % threads())];
    for (std::int64_t block; (block = range.take_last()) >= 0;)
      work(block);
  }
}

void ThreadPool::worker(int thread) {
  std::uint32_t seen = 0;
  while (true) {
    for (int spins = 0; spins < kSpins && round_ == seen; ++spins)
      relax();
    while (round_ == seen)
      round_.wait(seen);
    ++seen;
    if (stopping_) return;
    work_off(thread);
    if (--busy_ == 0) busy_.notify_one();
  }
}

}  // namespace finetuned::tensor
