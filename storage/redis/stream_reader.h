#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "storage/redis/client.h"

namespace finetuned::redis {

struct StreamReaderOptions {
  Address address;
  std::string stream;    ///< `finetuned:jobs`
  std::string group;     ///< made when missing, and again after FLUSHALL
  std::string consumer;  ///< unique among the group's readers
};

/// Reads a stream as a member of a consumer group, blocking on a thread and a connection of its own.
///
/// `on_message(payload)` runs on that thread for each message, which is acknowledged before (a wake that dies with its
/// reader is made good by the sweep, so nothing is claimed from dead readers). It must be quick and must not throw.
/// While Redis is away the reader connects again with backoff (50 ms doubling to 2 s); after each new connection or
/// re-made group it calls `on_message("")` once: something may have been missed, look at PostgreSQL.
class StreamReader {
 public:
  StreamReader(StreamReaderOptions options, std::function<void(const std::string& payload)> on_message);
  /// Breaks off the blocking read and joins the thread.
  ~StreamReader();
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  bool connected() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::redis
