#include "services/gateway/connection_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <algorithm>
#include <cerrno>

namespace finetuned::gateway {

namespace {

constexpr std::size_t kHandshakeBytes = 4096;
constexpr std::size_t kLeastReceived = 1024;
constexpr std::size_t kMostAhead = 32 * 1024;       // read from a client whose answer is still in the making
constexpr std::size_t kEncryptedAtOnce = 128 * 1024;

/// A TLS record begins with a byte below these.
bool looks_like_http(std::string_view arrived) { return !arrived.empty() && arrived[0] >= 'A' && arrived[0] <= 'Z'; }

bool would_block(ssize_t result) { return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK); }

}  // namespace

/// Cancels the read that is under way at its deadline. One wait serves many reads: it looks at the deadline when it ends.
struct ConnectionStream::Alarm : std::enable_shared_from_this<Alarm> {
  explicit Alarm(beast::tcp_stream& watched) : stream(watched), timer(watched.get_executor()) {}

  void set(Steady::time_point at) {
    deadline = at;
    reading = true;
    rang = false;
    if (!waiting || timer.expiry() > at) wait();
  }

  void wait() {
    waiting = true;
    timer.expires_at(deadline);
    timer.async_wait([self = shared_from_this()](error_code ec) {
      if (ec) return;  // a sooner one took its place
      self->waiting = false;
      if (!self->reading) return;  // and `stream` may be gone
      if (Steady::now() < self->deadline) return self->wait();
      self->rang = true;
      self->stream.cancel();
    });
  }

  beast::tcp_stream& stream;  // outlives what reads it
  asio::steady_timer timer;
  Steady::time_point deadline;
  bool reading = false, waiting = false, rang = false;
};

ConnectionStream::~ConnectionStream() {
  if (alarm_) alarm_->reading = false;  // its timer outlives the stream
}

asio::awaitable<std::size_t> ConnectionStream::read_some_by(Steady::time_point deadline, asio::mutable_buffer space,
                                                            error_code& ec) {
  if (!alarm_) alarm_ = std::make_shared<Alarm>(tcp_);
  expires_never();
  alarm_->set(deadline);
  const std::size_t bytes = co_await read_some(space, ec);
  alarm_->reading = false;
  if (alarm_->rang && ec == asio::error::operation_aborted) ec = asio::error::timed_out;
  co_return bytes;
}

std::string_view ConnectionStream::arrived() const {
  const auto bytes = tls_->arrived.data();
  return {static_cast<const char*>(bytes.data()), bytes.size()};
}

asio::awaitable<void> ConnectionStream::receive(std::size_t wanted, error_code& ec) {
  const auto space = tls_->arrived.prepare(std::max(wanted, kLeastReceived));
  const std::size_t bytes = co_await tcp_.async_read_some(space, into(ec));
  tls_->arrived.commit(bytes);
}

asio::awaitable<void> ConnectionStream::flush(error_code& ec) {
  std::string& outgoing = tls_->session.outgoing();
  if (outgoing.empty()) co_return;
  const auto bytes = asio::buffer(outgoing.data(), outgoing.size());
  co_await asio::async_write(tcp_, bytes, into(ec));
  outgoing.clear();
}

asio::awaitable<ConnectionStream::Handshake> ConnectionStream::begin_tls(const TlsContext& context) {
  tls_ = std::make_unique<Tls>(context);
  bool first = true;
  for (;;) {
    error_code ec;
    co_await receive(kHandshakeBytes, ec);
    if (ec) co_return Handshake::kGone;
    if (std::exchange(first, false) && looks_like_http(arrived())) co_return Handshake::kPlainHttp;
    const TlsSession::Step step = tls_->session.shake_hands(arrived());
    tls_->arrived.consume(step.used);
    co_await flush(ec);  // an alert too
    if (step.outcome == TlsSession::Outcome::kFailed) co_return Handshake::kRefused;
    if (ec || step.outcome == TlsSession::Outcome::kEnded) co_return Handshake::kGone;
    if (step.outcome != TlsSession::Outcome::kDone) continue;
    tls_->open = true;
    // The client's last word is answered by none of ours. One that gathers small writes (Nagle) holds its request back until
    // that word is acknowledged, which the kernel does after 40 ms unless told.
    const int at_once = 1;
    ::setsockopt(socket().native_handle(), IPPROTO_TCP, TCP_QUICKACK, &at_once, sizeof at_once);
    co_return Handshake::kDone;
  }
}

asio::awaitable<std::size_t> ConnectionStream::read_decrypted(asio::mutable_buffer space, error_code& ec) {
  ec = {};
  for (;;) {
    const TlsSession::Step step = tls_->session.read(arrived(), static_cast<char*>(space.data()), space.size());
    tls_->arrived.consume(step.used);
    tls_->open = tls_->open && step.outcome != TlsSession::Outcome::kFailed;
    co_await flush(ec);  // an alert, or new keys that the client asked for
    if (ec) co_return 0;
    if (step.outcome == TlsSession::Outcome::kDone) co_return step.written;
    if (step.outcome == TlsSession::Outcome::kEnded) ec = asio::error::eof;
    if (step.outcome == TlsSession::Outcome::kFailed) ec = asio::error::connection_aborted;
    if (ec) co_return 0;
    co_await receive(space.size(), ec);
    // An alarm that found nothing to cancel rings once: the next wait would have no end.
    if (!ec && alarm_ && alarm_->reading && alarm_->rang) ec = asio::error::operation_aborted;
    if (ec) co_return 0;
  }
}

asio::awaitable<std::size_t> ConnectionStream::write(asio::const_buffer bytes, error_code& ec) {
  if (!tls_) return asio::async_write(tcp_, asio::const_buffers_1(bytes), into(ec));
  return write_encrypted(bytes, ec);
}

std::size_t ConnectionStream::write_at_once(std::string_view bytes) {
  if (tls_) return 0;
  const ssize_t sent = ::send(socket().native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent > 0 ? static_cast<std::size_t>(sent) : 0;
}

asio::awaitable<std::size_t> ConnectionStream::write_encrypted(asio::const_buffer bytes, error_code& ec) {
  ec = {};
  const std::string_view plain(static_cast<const char*>(bytes.data()), bytes.size());
  for (std::size_t at = 0; at < plain.size(); at += kEncryptedAtOnce) {
    tls_->open = tls_->open && tls_->session.write(plain.substr(at, kEncryptedAtOnce));
    if (!tls_->open) ec = asio::error::connection_aborted;
    if (!ec) co_await flush(ec);
    if (ec) co_return at;
  }
  co_return plain.size();
}

asio::awaitable<void> ConnectionStream::end() {
  if (!tls_ || !tls_->open) co_return;
  tls_->session.end();
  error_code ignored;
  co_await flush(ignored);
}

void ConnectionStream::dismiss() {
  if (tls_ && tls_->open && tls_->session.outgoing().empty()) {
    tls_->session.end();
    const std::string& farewell = tls_->session.outgoing();
    [[maybe_unused]] const auto sent =
        ::send(socket().native_handle(), farewell.data(), farewell.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  close();
}

bool ConnectionStream::client_is_there() {
  if (!socket().is_open()) return false;
  const int descriptor = socket().native_handle();
  if (!tls_) {
    char byte = 0;
    const auto seen = ::recv(descriptor, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return seen > 0 || would_block(seen);
  }
  while (tls_->arrived.size() < kMostAhead) {
    const auto space = tls_->arrived.prepare(kLeastReceived);
    const auto got = ::recv(descriptor, space.data(), space.size(), MSG_DONTWAIT);
    if (would_block(got)) break;
    if (got <= 0) return false;
    tls_->arrived.commit(static_cast<std::size_t>(got));
  }
  const TlsSession::Step step = tls_->session.look(arrived());
  tls_->arrived.consume(step.used);
  tls_->open = tls_->open && step.outcome != TlsSession::Outcome::kFailed;
  return step.outcome == TlsSession::Outcome::kDone || step.outcome == TlsSession::Outcome::kWantsMore;
}

bool ConnectionStream::bytes_wait() {
  error_code ec;
  return socket().available(ec) > 0 && !ec;
}

void ConnectionStream::release_memory() {
  if (!tls_) return;
  if (tls_->arrived.size() == 0) tls_->arrived.shrink_to_fit();
  std::string& outgoing = tls_->session.outgoing();
  if (outgoing.empty()) outgoing = std::string();
}

}  // namespace finetuned::gateway
