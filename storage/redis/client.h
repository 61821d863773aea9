#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace finetuned::redis {

/// Where Redis listens. A socket path wins over host and port.
struct Address {
  std::string socket;
  std::string host;
  int port = 6379;
  std::chrono::milliseconds timeout{1'000};  ///< of connecting and of each command
};

/// An answer of Redis, copied out of the driver.
struct Reply {
  enum class Kind { kNil, kText, kInteger, kArray, kError };
  Kind kind = Kind::kNil;
  std::string text;  ///< of kText and kError
  std::int64_t integer = 0;
  std::vector<Reply> elements;
};

/// One connection to Redis, for commands. Thread-safe (commands go one after another). Redis only wakes and limits:
/// nothing here throws when it is away, and callers must be right without it. After a failure the next command
/// connects again, at most once each backoff (50 ms, doubling to 2 s); in between commands fail at once.
class Client {
 public:
  explicit Client(Address address);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Empty when Redis is away or too slow; an error answer is a Reply of kind kError.
  std::optional<Reply> command(const std::vector<std::string>& words);

  bool ping();
  /// XADD stream MAXLEN ~ 10000 * id PAYLOAD. False when it was not taken.
  bool add_to_stream(const std::string& stream, const std::string& payload);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::redis
