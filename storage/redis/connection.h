#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "storage/redis/client.h"

struct redisContext;

namespace finetuned::redis {

/// A hiredis connection with the backoff of reconnecting. One thread at a time, except interrupt().
class Connection {
 public:
  explicit Connection(Address address);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Connects where needed and where the backoff allows it. False: away.
  bool ensure_open();
  bool is_open() const { return context_ != nullptr; }
  /// How long ensure_open would refuse without trying.
  std::chrono::milliseconds until_next_try() const;
  /// Sends one command and reads its answer within the timeout plus `blocking_for`. Empty: the connection broke and
  /// is closed.
  std::optional<Reply> command(const std::vector<std::string>& words,
                               std::chrono::milliseconds blocking_for = std::chrono::milliseconds{0});
  /// Breaks off the command that another thread waits in. One that begins later is not touched.
  void interrupt();
  void close();

 private:
  void failed();
  const Address address_;
  std::mutex closing_;  ///< between interrupt() and the owner's opening and closing
  redisContext* context_ = nullptr;
  std::chrono::milliseconds backoff_{0};
  std::chrono::steady_clock::time_point next_try_{};
};

}  // namespace finetuned::redis
