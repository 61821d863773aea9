#include <algorithm>
#include <vector>

#include "base/errors.h"
#include "services/gateway/beside.h"
#include "services/gateway/connection_state.h"
#include "services/gateway/utf8.h"

namespace finetuned::gateway {

namespace {

constexpr std::uint64_t kMostDiscardedBytes = 64 * 1024;  // of an unread body, to keep the connection
constexpr std::chrono::seconds kDiscardTime{2};
constexpr std::size_t kPieceBytes = 512 * 1024;  // of a streamed body

base::ApiError too_slow(const std::string& why) {
  return {408, "invalid_request_error", "request_timeout", "The request's body came too slowly: " + why + ". Send it again, whole.",
          std::nullopt, true};
}

base::ApiError too_large(std::uint64_t most) {
  return {413, "invalid_request_error", "request_too_large",
          "The request body is larger than the " + std::to_string(most) + " bytes that this URL takes."};
}

/// Bytes that are compressed would be taken for the thing itself.
void refuse_encoded(const Request& request) {
  for (const auto& [name, value] : request.headers) {
    if (name != "content-encoding" || value.empty() || value == "identity") continue;
    throw base::ApiError(415, "invalid_request_error", "unsupported_content_encoding",
                         "A body with `Content-Encoding: " + (is_utf8(value) ? value : "?") +
                             "` is not decoded here. Send it as it is, without that header.", "Content-Encoding");
  }
}

}  // namespace

/// Of a streamed body: one is read while the consumer has the other. Shared with a call that is given up.
struct Connection::State::StreamPieces {
  std::unique_ptr<char[]> next = std::make_unique_for_overwrite<char[]>(kPieceBytes);
  std::unique_ptr<char[]> taken = std::make_unique_for_overwrite<char[]>(kPieceBytes);
  std::size_t filled = 0;  ///< of `next`
};

/// By its head, before any of it is read. Throws ApiError 413 and 415.
void Connection::State::check_body(const Route& route) const {
  if (head.has_body()) refuse_encoded(*request);
  if (head.content_length.value_or(0) > route.most_body_bytes) throw too_large(route.most_body_bytes);
}

/// While the consumer works on a piece, the next one is read.
asio::awaitable<void> Connection::State::take_stream(const Route& route, std::shared_ptr<Taking> taking) {
  co_await send_continue();
  if (head.chunked) buffer.reserve(kReceiveBytes);  // as much is read as there is room for
  Beside consuming(door.objects, stream.get_executor());
  auto pieces = std::make_shared<StreamPieces>();
  std::exception_ptr failure;
  try {
    co_await read_pieces(route, taking, consuming, pieces);
  } catch (...) {
    failure = std::current_exception();
  }
  co_await consuming.wait();  // the next call would be beside it
  if (failure) std::rethrow_exception(failure);
  consuming.check();
}

asio::awaitable<void> Connection::State::read_pieces(const Route& route, std::shared_ptr<Taking> taking, Beside& consuming,
                                                     std::shared_ptr<StreamPieces> shared) {
  StreamPieces& pieces = *shared;
  // Where there is not, the client may wait for what is thought of the last piece: that comes first.
  const auto more_at_hand = [this] { return !body_reader->done() && (buffer.size() > 0 || stream.bytes_wait()); };
  std::uint64_t total = 0;
  Steady::duration waited{};
  while (!body_reader->done()) {
    const auto before = Steady::now();
    body_deadline = before + door.limits.stall;
    const std::size_t bytes = co_await read_body_some(pieces.next.get() + pieces.filled, kPieceBytes - pieces.filled);
    waited += Steady::now() - before;
    total += bytes;
    pieces.filled += bytes;
    if (total > route.most_body_bytes) throw too_large(route.most_body_bytes);
    const auto seconds = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(waited).count());
    if (waited > door.limits.stall && total < seconds * door.limits.body_bytes_per_second)
      throw too_slow(std::to_string(total) + " bytes in " + std::to_string(seconds) + " seconds");
    if (pieces.filled == kPieceBytes || !more_at_hand()) co_await consuming.wait();
    consuming.check();
    if (pieces.filled == 0 || consuming.busy()) continue;
    std::swap(pieces.next, pieces.taken);
    const std::string_view piece(pieces.taken.get(), std::exchange(pieces.filled, 0));
    consuming.begin([taking, shared, piece] { taking->consumer->consume(piece); });
    if (!more_at_hand()) co_await consuming.wait();
    consuming.check();
  }
}

asio::awaitable<void> Connection::State::read_whole_body(const Route& route) {
  co_await send_continue();
  body_deadline = Steady::now() + door.limits.request;
  const std::size_t piece = 16 * 1024;
  buffer.reserve(piece);
  while (!body_reader->done()) {
    const std::size_t had = request->body.size();
    request->body.resize(had + piece);
    const std::size_t bytes = co_await read_body_some(request->body.data() + had, piece);
    request->body.resize(had + bytes);
    if (request->body.size() > route.most_body_bytes) throw too_large(route.most_body_bytes);
  }
}

asio::awaitable<void> Connection::State::send_continue() {
  if (!std::exchange(continue_owed, false) || buffer.size() > 0) co_return;
  static constexpr std::string_view text = "HTTP/1.1 100 Continue\r\n\r\n";
  error_code ec;
  stream.expires_after(door.limits.stall);
  const auto bytes = asio::buffer(text.data(), text.size());
  co_await stream.write(bytes, ec);
  if (ec) throw ClientGone();
}

/// Reads a piece of the body, by body_deadline, past which the client is told. May be 0 before the end.
asio::awaitable<std::size_t> Connection::State::read_body_some(char* into_begin, std::size_t size) {
  error_code ec;
  const std::uint64_t plain = body_reader->plain_bytes();
  if (buffer.size() == 0 && plain > 0) {
    const auto space = asio::buffer(into_begin, static_cast<std::size_t>(std::min<std::uint64_t>(size, plain)));
    const std::size_t bytes = co_await stream.read_some_by(body_deadline, space, ec);
    if (ec) cut_off(ec);
    body_reader->took(bytes);
    co_return bytes;
  }
  if (buffer.size() == 0) {
    const auto space = buffer.prepare(std::max(buffer.capacity(), kLeastReceiveBytes));
    const std::size_t bytes = co_await stream.read_some_by(body_deadline, space, ec);
    if (ec) cut_off(ec);
    buffer.commit(bytes);
  }
  const std::string_view arrived(static_cast<const char*>(buffer.data().data()), buffer.size());
  const auto progress = body_reader->read(arrived, into_begin, size);
  buffer.consume(progress.used);
  co_return progress.written;
}

/// Of a body that does not come any more.
void Connection::State::cut_off(const error_code& ec) {
  if (ec != asio::error::timed_out) throw ClientGone();
  stalled = true;
  throw too_slow("it stopped before its end");
}

/// Reads what is left of a small body, so that the next request can follow. False when it is too much, or does not come.
asio::awaitable<bool> Connection::State::discard_body() {
  if (!body_reader) co_return false;
  if (body_reader->done() || !head.has_body()) co_return true;
  if (stalled || continue_owed || head.chunked || head.content_length.value_or(0) > kMostDiscardedBytes) co_return false;
  std::vector<char> scrap(16 * 1024);
  body_deadline = Steady::now() + kDiscardTime;
  try {
    while (!body_reader->done()) co_await read_body_some(scrap.data(), scrap.size());
  } catch (const base::ApiError&) {  // too slow: the answer goes out all the same
  }
  co_return body_reader->done();
}

}  // namespace finetuned::gateway
