#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace finetuned::tensor {

/// `threads` workers, the caller among them, that run numbered blocks of work. Each goes through a range of
/// consecutive blocks of its own, whose memory mostly lies in a row; who has ended takes the others' last
/// ones. What a block is and where its result goes must depend on its number alone, which makes results
/// independent of `threads`. One caller at a time. Blocks must not throw and must not call the pool.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);  ///< >= 1; fewer where the system gives no more
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls work(block, thread) for every block in [0, blocks), thread in [0, threads()); returns when all are
  /// done. At most 2^32 - 1 blocks.
  template <class Work>
  void run(std::int64_t blocks, Work&& work) {
    using Plain = std::remove_reference_t<Work>;
    run_blocks(blocks, const_cast<void*>(static_cast<const void*>(&work)),
               [](void* context, std::int64_t block, int thread) {
                 (*static_cast<Plain*>(context))(block, thread);
               });
  }

 private:
  using Block = void (*)(void* context, std::int64_t block, int thread);
  void run_blocks(std::int64_t blocks, void* context, Block block);
  void work_off(int thread);
  void worker(int thread);

  /// The blocks of a thread that nobody has taken yet, [begin, end): begin in the upper half.
  struct alignas(64) Range {
    std::atomic<std::uint64_t> left{0};

    void set(std::int64_t begin, std::int64_t end);
    std::int64_t take_first();  ///< its number, or -1
    std::int64_t take_last();
  };

  Block block_ = nullptr;
  void* context_ = nullptr;
  std::unique_ptr<Range[]> ranges_;  ///< [threads]
  alignas(64) std::atomic<int> busy_{0};
  alignas(64) std::atomic<std::uint32_t> round_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace finetuned::tensor
