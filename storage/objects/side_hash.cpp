#include "storage/objects/side_hash.h"

#include "base/expects.h"

namespace finetuned::objects {

namespace {

constexpr std::size_t kLarge = 128 * 1024;  // hashed in less time than it takes to wake a thread, below

}  // namespace

SideHash::~SideHash() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void SideHash::begin(std::string_view piece) {
  if (piece.size() < kLarge) return hash_.update(piece);
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
  {
    const std::lock_guard lock(mutex_);
    base::expects(piece_.empty(), "one piece is hashed at a time");
    piece_ = piece;
  }
  changed_.notify_all();
}

void SideHash::wait() {
  if (!thread_.joinable()) return;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return piece_.empty(); });
}

void SideHash::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !piece_.empty(); });
    if (piece_.empty()) return;
    const std::string_view piece = piece_;
    lock.unlock();
    hash_.update(piece);
    lock.lock();
    piece_ = {};
    changed_.notify_all();
  }
}

}  // namespace finetuned::objects
