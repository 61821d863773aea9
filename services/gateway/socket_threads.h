#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

namespace finetuned::gateway {

/// Threads for sockets. Each runs what is bound to its own io_context and nothing else does, so a connection, which stays
/// with one of them, needs no strand, and threads do not contend for work.
class SocketThreads {
 public:
  explicit SocketThreads(std::size_t count);
  ~SocketThreads();
  SocketThreads(const SocketThreads&) = delete;
  SocketThreads& operator=(const SocketThreads&) = delete;

  /// By turns. One thread at a time.
  boost::asio::io_context& next();

  std::size_t size() const { return turns_.size(); }
  boost::asio::io_context& context(std::size_t index) { return turns_.at(index)->io; }
  /// The index of the one that this is called on; on another thread it aborts.
  std::size_t here() const;

  void start();
  /// Leaves what is under way where it is and joins the threads; coroutines go with their io_context.
  void stop();

 private:
  struct Turn {
    boost::asio::io_context io{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard{io.get_executor()};
    std::thread thread;
  };
  std::vector<std::unique_ptr<Turn>> turns_;
  std::size_t next_ = 0;
};

}  // namespace finetuned::gateway
