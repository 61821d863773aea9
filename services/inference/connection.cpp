#include "services/inference/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/errors.h"

namespace finetuned::inference {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kWriteLimit{30'000};  // of a client that reads nothing
constexpr int kLongestWaitMs = 1'000;  // between two looks at a call that says nothing

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

/// Waits for `events` until `deadline`. False where it came first.
bool wait_for(int fd, short events, steady_clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd waited{fd, events, 0};
    const int ready = ::poll(&waited, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

}  // namespace

std::optional<std::string> Connection::read_line(milliseconds limit) {
  const auto deadline = steady_clock::now() + limit;
  std::string line;
  char piece[1 << 16];
  while (wait_for(socket_.get(), POLLIN, deadline)) {
    const ssize_t got = ::recv(socket_.get(), piece, sizeof piece, 0);
    if (got < 0 && would_block()) continue;
    if (got <= 0) return std::nullopt;
    const std::string_view fresh(piece, static_cast<std::size_t>(got));
    const std::size_t end = fresh.find('\n');
    line += fresh.substr(0, end);
    if (line.size() > kRequestBytes)
      throw base::ApiError(413, "invalid_request_error", "request_too_large",
                           "The request is longer than " + std::to_string(kRequestBytes) + " bytes.");
    if (end != std::string_view::npos) return line;
  }
  return std::nullopt;
}

bool Connection::write(std::string_view text, milliseconds limit) {
  const auto deadline = steady_clock::now() + limit;
  while (!text.empty()) {
    const ssize_t done = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (done < 0 && !would_block()) return false;
    if (done < 0 && !wait_for(socket_.get(), POLLOUT, deadline)) return false;
    if (done > 0) text.remove_prefix(static_cast<std::size_t>(done));
  }
  return true;
}

bool Connection::client_left() const {
  char byte = 0;
  const ssize_t got = ::recv(socket_.get(), &byte, 1, MSG_DONTWAIT);
  return got == 0 || (got < 0 && !would_block());  // what it says behind its request is nobody's
}

void Connection::close() { ::shutdown(socket_.get(), SHUT_RDWR); }

void Connection::relay(Call& call) {
  while (true) {
    pollfd waited[2]{{call.wakes(), POLLIN, 0}, {socket_.get(), POLLIN, 0}};
    if (::poll(waited, 2, kLongestWaitMs) < 0 && errno != EINTR) break;
    if (waited[1].revents != 0 && client_left()) break;
    const Call::Lines lines = call.take();
    if (!write(lines.text, kWriteLimit)) break;
    if (lines.ended) return;
  }
  call.cancel();
}

}  // namespace finetuned::inference
