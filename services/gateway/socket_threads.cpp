#include "services/gateway/socket_threads.h"

#include "base/expects.h"

namespace finetuned::gateway {

SocketThreads::SocketThreads(std::size_t count) {
  base::expects(count >= 1, "sockets have a thread");
  for (std::size_t i = 0; i < count; ++i) turns_.push_back(std::make_unique<Turn>());
}

SocketThreads::~SocketThreads() { stop(); }

boost::asio::io_context& SocketThreads::next() { return turns_[next_++ % turns_.size()]->io; }

void SocketThreads::start() {
  for (const auto& turn : turns_) turn->thread = std::thread([io = &turn->io] { io->run(); });
}

void SocketThreads::stop() {
  for (const auto& turn : turns_) turn->io.stop();
  for (const auto& turn : turns_)
    if (turn->thread.joinable()) turn->thread.join();
}

}  // namespace finetuned::gateway
