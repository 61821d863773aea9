#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "services/gateway/connection.h"
#include "services/gateway/socket_threads.h"

namespace finetuned::gateway {

/// Listens, and keeps the open connections until they end.
class Server {
 public:
  /// Binds and listens; connections wait until start(). Port 0 lets the system choose. Throws UsageError where the
  /// address cannot be had. `threads` and `door` outlive this.
  Server(SocketThreads& threads, Door& door, const std::string& address, int port, std::size_t most_connections);

  void start();
  std::uint16_t port() const { return port_; }

  /// Accepts nothing more, closes idle connections, and waits until the others have been answered. After `patience`
  /// it closes what is left and returns false. Blocks; not on one of `threads`.
  bool drain(std::chrono::milliseconds patience);

 private:
  boost::asio::awaitable<void> accept();
  void welcome(boost::asio::ip::tcp::socket socket);
  boost::asio::awaitable<void> serve(std::shared_ptr<Connection> connection);
  bool wait_until_empty(std::chrono::milliseconds patience);

  SocketThreads& threads_;
  Door& door_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::size_t most_connections_;
  std::uint16_t port_ = 0;
  std::mutex mutex_;
  std::condition_variable empty_;
  std::unordered_map<const Connection*, std::weak_ptr<Connection>> connections_;
};

}  // namespace finetuned::gateway
