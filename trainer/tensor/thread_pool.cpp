#include "trainer/tensor/thread_pool.h"

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

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  base::expects(threads >= 1, "a pool has at least its caller's thread");
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
  block_ = block;
  context_ = context;
  blocks_ = blocks;
  next_ = 0;
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
  for (std::int64_t i = next_++; i < blocks_; i = next_++)
    block_(context_, i, thread);
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
