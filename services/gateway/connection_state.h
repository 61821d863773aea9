#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <optional>
#include <string>

#include "services/gateway/body_reader.h"
#include "services/gateway/connection.h"
#include "services/gateway/connection_stream.h"
#include "services/gateway/head.h"
#include "services/gateway/render.h"

namespace finetuned::gateway {

class Beside;

// Of connection*.cpp alone.

inline constexpr std::size_t kChunkBytes = 128 * 1024;
inline constexpr std::size_t kReceiveBytes = 64 * 1024;
inline constexpr std::size_t kLeastReceiveBytes = 4096;

/// The client went away: nothing to answer.
struct ClientGone {};

inline bool is_loopback(const asio::ip::tcp::socket& socket) {
  error_code ec;
  const auto peer = socket.remote_endpoint(ec);
  return !ec && peer.address().is_loopback();
}

struct Connection::State {
  State(asio::ip::tcp::socket socket, Door& shared)
      : stream(std::move(socket)), door(shared), buffer(shared.limits.head_bytes + kReceiveBytes) {
    door.metrics.connection_opened();
  }
  ~State() { door.metrics.connection_closed(); }

  asio::awaitable<bool> begin_tls();
  asio::awaitable<void> refuse_plain_http();
  asio::awaitable<bool> serve_one();
  void begin_request();
  bool take_head(std::size_t& checked);
  void begin_silence();
  void watch_silence();
  void begin_body(std::string_view head_text);
  bool find_route();
  asio::awaitable<Response> answer(const Route& route, bool admitted);
  asio::awaitable<Response> answer_stream(const Route& route);
  struct Taking;
  asio::awaitable<void> take_stream(const Route& route, std::shared_ptr<Taking> taking);
  struct StreamPieces;
  asio::awaitable<void> read_pieces(const Route& route, std::shared_ptr<Taking> taking, Beside& consuming,
                                    std::shared_ptr<StreamPieces> shared);
  void check_body(const Route& route) const;
  asio::awaitable<void> read_whole_body(const Route& route);
  asio::awaitable<void> send_continue();
  asio::awaitable<std::size_t> read_body_some(char* into_begin, std::size_t size);
  [[noreturn]] void cut_off(const error_code& ec);
  asio::awaitable<bool> discard_body();
  asio::awaitable<Response> settled(Response response);
  asio::awaitable<bool> pause(Wait wait);
  AnswerContext context_of(Steady::duration spent, bool body_is_read) const;
  bool is_simple(const Response& response) const;
  asio::awaitable<bool> send(Response response);
  std::string send_at_once(const Response& response, const AnswerContext& context, bool with_body);
  asio::awaitable<bool> send_source(std::shared_ptr<BodySource> source, std::uint64_t bytes);
  asio::awaitable<bool> send_live(std::unique_ptr<LiveBody> body, bool chunks, bool wanted);
  asio::awaitable<bool> send_pieces(LiveBody& body, bool chunks);
  asio::awaitable<bool> write(std::string text);
  template <class Thing>
  asio::awaitable<void> drop(std::unique_ptr<Thing> thing);
  asio::awaitable<void> let_go(std::shared_ptr<Taking> taking, bool waits);
  template <class Work>
  auto on_threads_of(const Route& route, Work work) -> asio::awaitable<std::invoke_result_t<Work&>>;
  asio::awaitable<void> linger();
  void note(const Response& response, Steady::duration spent) const;

  ConnectionStream stream;
  Door& door;
  beast::flat_buffer buffer;
  const bool from_loopback = is_loopback(stream.socket());
  bool first = true;  // no request has been answered on this connection yet
  bool idle = false;   // it waits for the first byte of a request
  Steady::time_point idle_until;
  asio::steady_timer watch{stream.get_executor()};  // of that; pending while `watched`
  bool watched = false;
  std::weak_ptr<Connection> self;
  const Steady::time_point opened = Steady::now();

  // Of the request at hand:
  std::shared_ptr<Request> request = std::make_shared<Request>();  // with calls on the object store that are given up
  Head head;
  const Route* found = nullptr;  // the route, once it is known
  std::optional<BodyReader> body_reader;
  bool continue_owed = false;
  bool stalled = false;  // the body: there is no waiting for more of it
  Steady::time_point body_deadline;
  Steady::time_point started;
};

/// Destroys it where blocking is allowed; a full queue destroys it here instead.
template <class Thing>
asio::awaitable<void> Connection::State::drop(std::unique_ptr<Thing> thing) {
  auto destroy = [dropped = std::move(thing)]() mutable { dropped.reset(); };
  try {
    co_await base::offload(door.pool, std::move(destroy));
  } catch (const base::Overloaded&) {
  }
}

/// A consumer and the request that it reads. A call that is given up still has them.
struct Connection::State::Taking {
  std::shared_ptr<const Request> request;
  std::unique_ptr<BodyConsumer> consumer;
};

/// `work` owns what it uses, but for what outlives connections.
template <class Work>
auto Connection::State::on_threads_of(const Route& route, Work work) -> asio::awaitable<std::invoke_result_t<Work&>> {
  if (route.threads == Threads::kObjects) return offload(door.objects, std::move(work));
  return base::offload(door.pool, std::move(work));
}

}  // namespace finetuned::gateway
