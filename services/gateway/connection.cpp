#include <boost/asio/write.hpp>
#include <vector>

#include "base/errors.h"
#include "base/log.h"
#include "services/gateway/connection_state.h"
#include "services/gateway/render.h"
#include "services/gateway/request_ids.h"
#include "services/gateway/tls_context.h"
#include "services/gateway/uri.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kKeptBytes = 512;  // a connection keeps so much room while it waits for a request

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, Door& door)
    : state_(std::make_unique<State>(std::move(socket), door)) {}
Connection::~Connection() = default;

void Connection::close_if_idle() {
  asio::post(state_->stream.get_executor(), [self = shared_from_this()] {
    if (self->state_->idle) self->state_->stream.dismiss();
  });
}

void Connection::close_now() {
  asio::post(state_->stream.get_executor(), [self = shared_from_this()] { self->state_->stream.close(); });
}

asio::awaitable<void> Connection::serve() {
  state_->self = weak_from_this();
  try {
    bool open = true;
    if (state_->door.tls) open = co_await state_->begin_tls();
    while (open) {
      open = co_await state_->serve_one();
      state_->first = false;
    }
  } catch (const ClientGone&) {
  } catch (const std::exception& error) {
    base::log_error("a connection failed", {{"error", error.what()}});
  }
  state_->stream.close();
}

/// The handshake, within the time that a head has. False: close the connection.
asio::awaitable<bool> Connection::State::begin_tls() {
  if (door.draining) co_return false;
  const auto context = door.tls->current();
  idle = true;  // nothing has been asked for
  stream.expires_at(opened + door.limits.head);
  const ConnectionStream::Handshake outcome = co_await stream.begin_tls(*context);
  idle = false;
  switch (outcome) {
    case ConnectionStream::Handshake::kDone:
      door.metrics.tls_handshake("done");
      co_return true;
    case ConnectionStream::Handshake::kPlainHttp:
      door.metrics.tls_handshake("plain_http");
      co_await refuse_plain_http();
      co_return false;
    case ConnectionStream::Handshake::kRefused:
      door.metrics.tls_handshake("refused");
      base::log_debug("a TLS handshake was refused", {{"why", stream.fault()}});
      co_return false;
    case ConnectionStream::Handshake::kGone:
      door.metrics.tls_handshake("gone");
      co_return false;
  }
  co_return false;
}

/// In the one language that such a client understands.
asio::awaitable<void> Connection::State::refuse_plain_http() {
  const Response response = render_error(base::bad_request("tls_required", "This port speaks TLS: use an https:// URL."));
  AnswerContext context;
  context.request_id = make_request_id();
  context.keep_alive = false;
  const std::string text = render_head(response, context) + response.body;
  error_code ec;
  const auto bytes = asio::buffer(text.data(), text.size());
  co_await asio::async_write(stream.tcp(), bytes, into(ec));
  if (!ec) co_await linger();
}

void Connection::State::begin_request() {
  const bool shared = found && found->threads == Threads::kObjects;  // maybe
  if (shared) request = std::make_shared<Request>();
  else *request = Request();
  request->id = make_request_id();
  head = Head();
  head.keep_alive = false;
  request->from_loopback = from_loopback;
  request->over_tls = door.tls != nullptr;
  found = nullptr;
  body_reader.reset();
  continue_owed = false;
  stalled = false;
  if (buffer.size() == 0 && buffer.capacity() > kKeptBytes) buffer.shrink_to_fit();
  stream.release_memory();
  started = Steady::now();
}

/// Answers one request. False: close the connection. Most requests have a short head, no body and an answer that goes out at
/// once: for them this is the only coroutine, since each more takes memory of its own.
asio::awaitable<bool> Connection::State::serve_one() {
  begin_request();
  Response response;
  std::exception_ptr failure;
  std::optional<Metrics::InFlight> in_flight;
  try {
    for (std::size_t checked = 0; !take_head(checked);) {
      const bool silent = buffer.size() == 0;
      if (silent && door.draining) co_return false;
      error_code ec;
      const auto space = buffer.prepare(silent ? kKeptBytes : 4096);
      if (silent)
        begin_silence();
      else
        stream.expires_at(started + door.limits.head);
      const std::size_t bytes = co_await stream.read_some(space, ec);
      idle = false;
      if (ec) co_return false;  // gone, or past the deadline: the socket is closed then, so there is no answering it
      buffer.commit(bytes);
      if (silent) started = Steady::now();
    }
    in_flight.emplace(door.metrics);
    const bool admitted = find_route();
    if (admitted && found->async_handler && !head.has_body()) {
      auto begin = [this](Answered answered) { found->async_handler(*request, std::move(answered)); };
      response = co_await base::called_back<Response>(std::move(begin));
    } else {
      response = co_await answer(*found, admitted);
    }
    if (response.pending) response = co_await settled(std::move(response));
  } catch (const ClientGone&) {
    co_return false;
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) response = render_error(as_api_error(failure, request->id));
  // Both by RFC 9110.
  if (response.status == 401) response.headers.emplace_back("www-authenticate", "Bearer");
  if (response.status == 405) response.headers.emplace_back("allow", door.router.allowed(request->segments));
  if (!is_simple(response)) {
    const bool go_on = co_await send(std::move(response));
    co_return go_on;
  }
  std::string rest = send_at_once(response, context_of(Steady::now() - started, true), request->method != "HEAD");
  if (rest.empty()) co_return true;
  const bool sent = co_await write(std::move(rest));
  co_return sent;
}

/// Takes the head out of what has come, once it is whole. `checked`: how much of it has been looked at before.
bool Connection::State::take_head(std::size_t& checked) {
  const std::string_view text(static_cast<const char*>(buffer.data().data()), buffer.size());
  const auto end = text.find("\r\n\r\n");
  if (end != std::string_view::npos && end + 4 <= door.limits.head_bytes) {
    begin_body(text.substr(0, end + 4));
    return true;
  }
  if (text.size() >= door.limits.head_bytes)
    throw base::ApiError(431, "invalid_request_error", "header_too_large",
                         "The request's head is larger than " + std::to_string(door.limits.head_bytes) + " bytes.");
  // A CR at the very end may still get its LF; bytes before it have been looked at.
  if (has_bare_line_end(text.substr(checked)))
    throw base::bad_request("invalid_request_head", "The request's head is not valid HTTP/1.1: header lines must end in CRLF.");
  checked = text.ends_with('\r') ? text.size() - 1 : text.size();
  return false;
}

/// Before the first byte of a request: sets until when it must come. What watches over that is a timer that outlasts many
/// requests, since it is far longer than they mostly take.
void Connection::State::begin_silence() {
  idle = true;
  idle_until = first ? opened + door.limits.head : Steady::now() + door.limits.idle;
  stream.expires_never();
  if (!watched || idle_until < watch.expiry()) watch_silence();
}

void Connection::State::watch_silence() {
  watched = true;
  watch.expires_at(idle_until);
  watch.async_wait([this, weak = self](error_code ec) {
    const auto alive = weak.lock();
    if (ec || !alive) return;
    watched = false;
    if (idle && Steady::now() >= idle_until) return stream.close();
    if (idle) watch_silence();  // else the next silence begins it
  });
}

/// Checks the head, and from it how the body is framed.
void Connection::State::begin_body(std::string_view head_text) {
  HeadFault fault;
  auto parsed = parse_head(head_text, fault);
  if (!parsed)
    throw base::bad_request("invalid_request_head",
                            "The request's head is not valid HTTP/1.1: " + fault.message + ".");
  buffer.consume(head_text.size());
  head = std::move(*parsed);
  body_reader.emplace(head);
  continue_owed = head.expects_continue && head.has_body();
}

/// Finds who answers, and looks whether the client may ask. False: that takes waiting to know.
bool Connection::State::find_route() {
  std::string fault;
  auto target = parse_target(head.target, fault);
  if (!target) throw base::bad_request("invalid_url", "The URL " + fault + ".");
  request->method = head.method;
  request->segments = std::move(target->segments);
  request->query = std::move(target->query);
  request->headers = std::move(head.headers);
  const Route& route = door.router.find(*request);
  found = &route;
  return route.access == Access::kOpen || door.authenticate_at_once(*request, route.access);
}

asio::awaitable<Response> Connection::State::answer(const Route& route, bool admitted) {
  if (route.handler && !head.has_body()) {
    auto whole = [&door = door, request = request, &route, admitted] {
      if (!admitted) door.authenticate(*request, route.access);
      return route.handler(*request);
    };
    Response response = co_await on_threads_of(route, std::move(whole));
    co_return response;
  }
  if (!admitted) {
    auto check = [this, &route] { door.authenticate(*request, route.access); };
    co_await base::offload(door.pool, std::move(check));
  }
  check_body(route);
  if (route.stream_handler) {
    Response streamed = co_await answer_stream(route);
    co_return streamed;
  }
  if (head.has_body()) co_await read_whole_body(route);
  if (route.async_handler) {
    auto begin = [this, &route](Answered answered) { route.async_handler(*request, std::move(answered)); };
    Response response = co_await base::called_back<Response>(std::move(begin));
    co_return response;
  }
  auto handle = [request = request, &route] { return route.handler(*request); };
  Response response = co_await on_threads_of(route, std::move(handle));
  co_return response;
}

asio::awaitable<Response> Connection::State::answer_stream(const Route& route) {
  auto begin = [request = request, &route] {
    auto taking = std::make_shared<Taking>();
    taking->request = request;
    taking->consumer = route.stream_handler(*request);
    return taking;
  };
  std::shared_ptr<Taking> taking = co_await offload(door.objects, std::move(begin));
  Response response;
  std::exception_ptr failure;
  bool answered = true;
  try {
    co_await take_stream(route, taking);
    auto work = [taking] { return taking->consumer->work_on(); };
    for (bool more = true; more;) more = co_await offload(door.objects, work);
    auto finish = [taking] { return taking->consumer->finish(); };
    response = co_await offload(door.objects, std::move(finish));
  } catch (const Unanswered&) {
    failure = std::current_exception();
    answered = false;
  } catch (...) {
    failure = std::current_exception();
  }
  co_await let_go(std::move(taking), answered);
  if (failure) std::rethrow_exception(failure);
  co_return response;
}

/// Has it destroyed where the object store may be called, and `waits` for that: what was refused is gone when its client hears of
/// it. Not where the store does not answer: a call that was given up may have it still, and goes on.
asio::awaitable<void> Connection::State::let_go(std::shared_ptr<Taking> taking, bool waits) {
  if (!waits) {
    door.objects.destroy(std::move(taking), [](std::optional<std::monostate>, const std::exception_ptr&) {});
    co_return;
  }
  auto begin = [this, &taking](auto complete) { door.objects.destroy(std::move(taking), std::move(complete)); };
  try {
    co_await base::called_back<void>(std::move(begin));
  } catch (const Unanswered&) {
  }
}

}  // namespace finetuned::gateway
