#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <memory>
#include <utility>

#include "services/gateway/tls_session.h"

namespace finetuned::gateway {

// Of connection*.cpp alone.

namespace asio = boost::asio;
namespace beast = boost::beast;

using Steady = std::chrono::steady_clock;
using boost::system::error_code;

inline auto into(error_code& ec) { return asio::redirect_error(asio::use_awaitable, ec); }

/// A client's connection, plain or by TLS. Deadlines are those of the TCP stream below: what is read or written after one
/// has passed fails, and the socket is closed then. Used on its executor, one operation at a time.
///
/// Without TLS nothing stands between the caller and the TCP stream: not a coroutine, not a buffer.
class ConnectionStream {
 public:
  explicit ConnectionStream(asio::ip::tcp::socket socket) : tcp_(std::move(socket)) {}
  ~ConnectionStream();

  enum class Handshake { kDone, kRefused, kGone, kPlainHttp };
  /// Begins TLS, by the deadline set before. Unless it is done only tcp() is of use.
  asio::awaitable<Handshake> begin_tls(const TlsContext& context);
  /// Why the handshake was refused.
  const std::string& fault() const { return tls_->session.fault(); }

  /// Some bytes; 0 only with `ec`.
  asio::awaitable<std::size_t> read_some(asio::mutable_buffer space, error_code& ec) {
    if (tls_) return read_decrypted(space, ec);
    if (!timed_) return socket().async_read_some(space, into(ec));  // a deadline has its price, also where it is far
    return tcp_.async_read_some(space, into(ec));
  }
  /// The same by a deadline of its own, past which `ec` is error::timed_out and nothing is closed: the client can be told.
  asio::awaitable<std::size_t> read_some_by(Steady::time_point deadline, asio::mutable_buffer space, error_code& ec);
  /// All of `bytes`; fewer only with `ec`.
  asio::awaitable<std::size_t> write(asio::const_buffer bytes, error_code& ec);
  /// What the socket takes of `bytes` without waiting, which of most answers is all; what fails here fails in write() as
  /// well. Nothing by TLS.
  std::size_t write_at_once(std::string_view bytes);
  /// Tells the client that what it has got is all, where TLS can say so; its limit is the deadline set before.
  asio::awaitable<void> end();
  /// Whether the client may still take an answer: looks without waiting at what it has sent.
  bool client_is_there();

  /// Whether bytes have come that were not read.
  bool bytes_wait();

  /// Tells the client that this is all if that takes no waiting, and closes.
  void dismiss();
  void close() { tcp_.close(); }
  /// What is held for no byte at hand, before a wait that may be long.
  void release_memory();

  void expires_at(Steady::time_point deadline) {
    tcp_.expires_at(deadline);
    timed_ = true;
  }
  void expires_after(Steady::duration patience) { expires_at(Steady::now() + patience); }
  void expires_never() {
    if (std::exchange(timed_, false)) tcp_.expires_never();
  }
  auto get_executor() { return tcp_.get_executor(); }
  beast::tcp_stream& tcp() { return tcp_; }
  asio::ip::tcp::socket& socket() { return tcp_.socket(); }

 private:
  struct Tls {
    explicit Tls(const TlsContext& context) : session(context) {}
    TlsSession session;
    beast::flat_buffer arrived;  // and not taken by the session yet
    bool open = false;           // between the handshake's end and a failure
  };

  struct Alarm;

  asio::awaitable<std::size_t> read_decrypted(asio::mutable_buffer space, error_code& ec);
  asio::awaitable<std::size_t> write_encrypted(asio::const_buffer bytes, error_code& ec);
  asio::awaitable<void> receive(std::size_t wanted, error_code& ec);
  asio::awaitable<void> flush(error_code& ec);
  std::string_view arrived() const;

  beast::tcp_stream tcp_;
  bool timed_ = false;  // it has a deadline
  std::unique_ptr<Tls> tls_;
  std::shared_ptr<Alarm> alarm_;  // shared with its timer; none before the first read_some_by
};

}  // namespace finetuned::gateway
