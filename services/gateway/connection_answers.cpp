#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <vector>

#include "base/log.h"
#include "services/gateway/connection_state.h"
#include "services/gateway/render.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kKeptAnswerBytes = 16 * 1024;
constexpr std::chrono::seconds kLingerTime{5};  // so that a client still sending can read its error
constexpr std::chrono::seconds kStalledLingerTime{1};

/// Of the chunked coding; an empty piece is its end.
std::string as_chunk(const std::string& piece) {
  if (piece.empty()) return "0\r\n\r\n";
  char size[24];
  std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
  return size + piece + "\r\n";
}

/// A body on its way out. A call that is given up still has it.
struct Sending {
  explicit Sending(std::shared_ptr<BodySource> from) : source(std::move(from)) {}
  const std::shared_ptr<BodySource> source;
  std::vector<char> chunk = std::vector<char>(kChunkBytes);
};

/// The same source, which is destroyed on the object store's threads, whoever has it last: it may be refused, cut off or not wanted.
std::shared_ptr<BodySource> destroyed_on(ObjectCalls& calls, std::shared_ptr<BodySource> source) {
  BodySource* const at = source.get();
  auto destroy = [&calls, source = std::move(source)](BodySource*) mutable {
    if (ObjectCalls::here()) source.reset();
    else calls.destroy(std::move(source), [](std::optional<std::monostate>, const std::exception_ptr&) {});
  };
  return {at, std::move(destroy)};
}

}  // namespace

AnswerContext Connection::State::context_of(Steady::duration spent, bool body_is_read) const {
  AnswerContext context;
  context.request_id = request->id;
  context.organization = request->principal.organization_name;
  context.processing = spent;
  context.rates = request->rates;
  context.keep_alive = head.keep_alive && body_is_read && !door.draining;
  context.chunks = head.minor_version > 0;
  return context;
}

/// Whether the answer is a head and a body at hand, after which the connection serves on.
bool Connection::State::is_simple(const Response& response) const {
  return !response.source && !response.live && body_reader && body_reader->done() && head.keep_alive && !door.draining;
}

/// Sends the answer. True when the connection serves on.
asio::awaitable<bool> Connection::State::send(Response response) {
  const auto spent = Steady::now() - started;
  if (response.source) response.source = destroyed_on(door.objects, std::move(response.source));
  bool consumed = body_reader.has_value();
  if (consumed && head.has_body()) consumed = co_await discard_body();
  AnswerContext context = context_of(spent, consumed);
  if (response.live && !context.chunks) context.keep_alive = false;
  const bool bodiless = request->method == "HEAD";
  std::string rest = send_at_once(response, context, !response.source && !bodiless);
  bool sent = rest.empty();
  if (!sent) sent = co_await write(std::move(rest));
  if (sent && response.source && !bodiless) sent = co_await send_source(std::move(response.source), response.source_bytes);
  if (response.live) {
    const bool whole = co_await send_live(std::move(response.live), context.chunks, sent && !bodiless);
    sent = sent && (whole || bodiless);
  }
  if (!sent) co_return false;
  if (context.keep_alive) co_return true;
  stream.expires_after(kLingerTime);
  co_await stream.end();
  if (!consumed) co_await linger();
  co_return false;
}

/// Sends the head, and the body `with_body`, as far as that takes no waiting. Returns what is left of them.
std::string Connection::State::send_at_once(const Response& response, const AnswerContext& context, bool with_body) {
  thread_local std::string text;  // most answers go out whole, and the next one finds its room
  text.clear();
  render_head(text, response, context);
  if (with_body) text += response.text();
  const std::size_t sent = stream.write_at_once(text);
  door.metrics.answered(found, response.status, context.processing, request->rates.refused);
  note(response, context.processing);
  if (sent == text.size() && text.capacity() <= kKeptAnswerBytes) return {};
  std::string rest = std::move(text);
  text = std::string();
  rest.erase(0, sent);
  return rest;
}

asio::awaitable<bool> Connection::State::send_source(std::shared_ptr<BodySource> source, std::uint64_t bytes) {
  const auto sending = std::make_shared<Sending>(std::move(source));
  std::vector<char>& chunk = sending->chunk;
  while (bytes > 0) {
    const std::size_t want = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, chunk.size()));
    auto read = [sending, want] { return sending->source->read(sending->chunk.data(), want); };
    std::size_t got = 0;
    try {
      got = co_await offload(door.objects, std::move(read));
    } catch (const std::exception& error) {
      base::log_error("a download was cut off", {{"request", request->id}, {"error", error.what()}});
    }
    if (got == 0) co_return false;
    error_code ec;
    stream.expires_after(door.limits.request);
    const auto piece = asio::buffer(chunk.data(), got);
    co_await stream.write(piece, ec);
    if (ec) co_return false;
    bytes -= got;
  }
  co_return true;
}

asio::awaitable<bool> Connection::State::write(std::string text) {
  error_code ec;
  stream.expires_after(door.limits.request);
  const auto bytes = asio::buffer(text.data(), text.size());
  co_await stream.write(bytes, ec);
  co_return !ec;
}

/// Waits for an answer that is pending until it is there. Throws what making it throws.
asio::awaitable<Response> Connection::State::settled(Response response) {
  while (response.pending) {
    std::optional<Response> next;
    std::exception_ptr failure;
    bool here = true;
    auto look = [&pending = *response.pending] { return pending.look(); };
    try {
      next = co_await base::offload(door.pool, look);
    } catch (const base::Overloaded&) {  // a later look will do
    } catch (...) {
      failure = std::current_exception();
    }
    if (!next && !failure) here = co_await pause(response.pending->wait());
    if (!next && !failure && here) continue;
    co_await drop(std::move(response.pending));
    if (failure) std::rethrow_exception(failure);
    if (!here) throw ClientGone();
    response = std::move(*next);
  }
  co_return response;
}

/// Waits without a thread. False when the client has gone meanwhile, or is to be cut off.
asio::awaitable<bool> Connection::State::pause(Wait wait) {
  const auto executor = stream.get_executor();
  const auto timer = std::make_shared<asio::steady_timer>(executor, wait.at_most);
  std::optional<asio::posix::stream_descriptor> readable;
  if (wait.readable >= 0) {
    readable.emplace(executor, wait.readable);
    readable->async_wait(asio::posix::stream_descriptor::wait_read, [timer](error_code) { timer->cancel(); });
  }
  error_code ec;
  stream.expires_never();
  co_await timer->async_wait(into(ec));
  if (readable) readable->release();  // whose it is, whoever waits
  co_return stream.client_is_there();
}

/// Sends a body that comes as it comes; where `wanted` is false, none of it. Returns whether it went out whole.
asio::awaitable<bool> Connection::State::send_live(std::unique_ptr<LiveBody> body, bool chunks, bool wanted) {
  bool whole = wanted;
  if (wanted) whole = co_await send_pieces(*body, chunks);
  co_await drop(std::move(body));
  co_return whole;
}

asio::awaitable<bool> Connection::State::send_pieces(LiveBody& body, bool chunks) {
  for (;;) {
    std::optional<std::string> piece = std::string();
    auto read = [&body] { return body.read(); };
    bool failed = false;
    try {
      if (door.draining && body.ends_on_drain()) {
        piece.reset();
      } else {
        piece = co_await base::offload(door.pool, read);
      }
    } catch (const base::Overloaded&) {  // a later look will do
    } catch (const std::exception& error) {
      base::log_error("a live answer was cut off", {{"request", request->id}, {"error", error.what()}});
      failed = true;
    }
    if (failed) co_return false;
    if (piece && piece->empty()) {
      const bool here = co_await pause(body.wait());
      if (!here) co_return false;
      continue;
    }
    std::string text = piece ? std::move(*piece) : std::string();
    if (chunks) text = as_chunk(text);
    const bool written = text.empty() || co_await write(std::move(text));
    if (!written || !piece) co_return written;
  }
}

/// Closing with unread bytes resets the connection, and the client may lose its answer: read on for a moment.
asio::awaitable<void> Connection::State::linger() {
  error_code ec;
  stream.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ec);
  std::vector<char> scrap(64 * 1024);
  stream.expires_after(stalled ? kStalledLingerTime : kLingerTime);
  const auto space = asio::buffer(scrap.data(), scrap.size());
  while (!ec) co_await stream.tcp().async_read_some(space, into(ec));
}

/// What may change something stands in the log, with the id that the client was told; what only looks does where it is to be debugged.
void Connection::State::note(const Response& response, Steady::duration spent) const {
  const auto path = std::string_view(head.target).substr(0, head.target.find('?'));
  const bool looks = head.method == "GET" || head.method == "HEAD";
  if (looks && response.status < 500 && !door.notes_all) return;
  const auto level = response.status >= 500 ? base::LogLevel::kWarn : looks ? base::LogLevel::kDebug : base::LogLevel::kInfo;
  base::log(level, "request",
            {{"request", request->id}, {"method", head.method}, {"path", path}, {"status", response.status},
             {"project", request->principal.project_id},
             {"ms", static_cast<std::int64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(spent).count())}});
}

}  // namespace finetuned::gateway
