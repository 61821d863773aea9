#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

#include "base/offload.h"
#include "services/gateway/http.h"
#include "services/gateway/metrics.h"
#include "services/gateway/object_calls.h"
#include "services/gateway/router.h"

namespace finetuned::gateway {

/// How long a client may take, and how much it may send before it is known.
struct DoorLimits {
  std::size_t head_bytes = 8192;
  std::chrono::seconds head{10};     ///< from the first byte of a request (or the connection's start, with TLS's handshake) to its head's end
  std::chrono::seconds idle{75};     ///< between two requests of a connection
  std::chrono::seconds request{30};  ///< for a whole JSON body
  std::chrono::seconds stall{10};    ///< without any byte of a streamed body
  std::uint64_t body_bytes_per_second = 1024;  ///< a streamed body slower than this, after `stall`, is cut off
};

class Tls;

/// What connections share. Outlives them.
struct Door {
  const Router& router;
  /// Sets request.principal for routes that are not open. Blocking; throws ApiError 401 or 403.
  std::function<void(Request&, Access)> authenticate;
  /// The same without blocking. False: nothing is done, and `authenticate` has to do it.
  std::function<bool(Request&, Access)> authenticate_at_once;
  base::BlockingPool& pool;
  ObjectCalls& objects;
  Metrics& metrics;
  DoorLimits limits;
  const Tls* tls = nullptr;  ///< where it is null, connections are plain
  bool notes_all = false;    ///< the log takes answers to GET and HEAD, too, that are no fault of ours
  std::atomic<bool> draining{false};
};

/// Serves one client until it goes, errs or idles too long; never throws. All of HTTP/1.1 is here: keep-alive,
/// pipelining one by one, `Expect: 100-continue`, chunked and counted bodies, deadlines.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, Door& door);
  ~Connection();

  boost::asio::awaitable<void> serve();

  /// Closes the connection if it is between two requests. Any thread.
  void close_if_idle();
  /// Closes it whatever it does. Any thread.
  void close_now();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::gateway
