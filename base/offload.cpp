#include "base/offload.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "base/expects.h"

namespace finetuned::base {

struct BlockingPool::State {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::function<void()>> queue;
  std::size_t most_queued = 0;
  bool closing = false;
  std::vector<std::thread> threads;

  void work() {
    for (;;) {
      std::function<void()> next;
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [this] { return closing || !queue.empty(); });
        if (queue.empty()) return;
        next = std::move(queue.front());
        queue.pop_front();
      }
      next();
    }
  }
};

BlockingPool::BlockingPool(std::size_t threads, std::size_t most_queued) : state_(std::make_unique<State>()) {
  expects(threads > 0 && most_queued > 0, "a pool has threads and room for work");
  state_->most_queued = most_queued;
  for (std::size_t i = 0; i < threads; ++i) state_->threads.emplace_back([state = state_.get()] { state->work(); });
}

BlockingPool::~BlockingPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->closing = true;
  }
  state_->wake.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

bool BlockingPool::try_submit(std::function<void()> work) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->closing || state_->queue.size() >= state_->most_queued) return false;
    state_->queue.push_back(std::move(work));
  }
  state_->wake.notify_one();
  return true;
}

std::size_t BlockingPool::threads() const { return state_->threads.size(); }

}  // namespace finetuned::base
