#include "services/gateway/socket_threads.h"

#include "base/expects.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);
thread_local std::size_t this_index = kNone;

}  // namespace

SocketThreads::SocketThreads(std::size_t count) {
  base::expects(count >= 1, "sockets have a thread");
  for (std::size_t i = 0; i < count; ++i) turns_.push_back(std::make_unique<Turn>());
}

SocketThreads::~SocketThreads() { stop(); }

boost::asio::io_context& SocketThreads::next() { return turns_[next_++ % turns_.size()]->io; }

std::size_t SocketThreads::here() const {
  base::expects(this_index < turns_.size(), "a thread for sockets asks which one it is");
  return this_index;
}

void SocketThreads::start() {
  for (std::size_t i = 0; i < turns_.size(); ++i) {
    turns_[i]->thread = std::thread([i, io = &turns_[i]->io] {
      this_index = i;
      io->run();
    });
  }
}

void SocketThreads::stop() {
  for (const auto& turn : turns_) turn->io.stop();
  for (const auto& turn : turns_)
    if (turn->thread.joinable()) turn->thread.join();
}

}  // namespace finetuned::gateway
