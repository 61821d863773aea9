#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

struct pg_conn;
struct pg_result;

namespace finetuned::base {
class BlockingPool;
}

namespace finetuned::postgres {

/// A session that reads by one statement, again and again, and blocks no thread: the io_context waits for it among its other
/// sockets. A shortcut, never the only way: it does not say why it has no answer, it gives up after a second, and it makes
/// its session anew in the background. Whoever hears nothing from it asks the Pool. Used on the io_context's only thread.
class AsyncReader {
 public:
  using Rows = std::vector<std::vector<std::string>>;  ///< a NULL is empty
  using Done = std::function<void(const Rows*)>;       ///< null: there is no answer

  static constexpr std::chrono::seconds kPatience{1};  ///< for an answer, and between two tries to connect

  /// `sql` is a SELECT with parameters. Connects to nothing yet; that blocks, so `pool` does it. The io_context outlives this;
  /// the pool's threads, and the io_context's, are joined before this is destroyed.
  AsyncReader(boost::asio::io_context& io, base::BlockingPool& pool, const std::string& url, const std::string& application_name,
              std::string sql);
  ~AsyncReader();
  AsyncReader(const AsyncReader&) = delete;
  AsyncReader& operator=(const AsyncReader&) = delete;

  /// Reads in `scope`, as Pool::read_one does, and calls `done` later, once. False: nothing is begun, since there is no session
  /// (one is asked for) or a reading is under way.
  bool begin(const Scope& scope, const std::vector<Value>& values, Done done);
  bool busy() const { return static_cast<bool>(done_); }

 private:
  using Session = std::shared_ptr<pg_conn>;
  Session open_session() const;
  void connect();
  std::string enter(const Scope& scope);
  std::string text_of(const std::vector<Value>& values) const;
  void listen();
  void receive();
  void take(const pg_result& result);
  void watch();
  void end(bool answered);
  void lose();

  boost::asio::io_context& io_;
  base::BlockingPool& pool_;
  const std::string url_;
  const std::string sql_;
  bool connecting_ = false;
  std::chrono::steady_clock::time_point next_try_{};

  Session session_;    ///< null: there is none
  std::string scope_;  ///< the statement that told it the scope in which it reads
  boost::asio::posix::stream_descriptor socket_;  ///< the session's, lent
  boost::asio::steady_timer deadline_;
  bool watching_ = false;

  // Of the reading under way:
  Done done_;
  std::chrono::steady_clock::time_point begun_{};
  Rows rows_;
  bool failed_ = false;
};

}  // namespace finetuned::postgres
