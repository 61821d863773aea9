#include "services/gateway/inference_link.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace finetuned::gateway {

using inference::AnswerLine;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t kReceiveBytes = 64 * 1024;
constexpr int kMostReceives = 8;            // of one read(): others' turns come in between
constexpr milliseconds kSilence{500};       // between two looks at whether the client is still there
constexpr milliseconds kSendPause{10};      // while the worker is slow to take the request

WorkerGone gone(const std::string& what, const std::string& why) { return WorkerGone(what + ": " + why); }

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

base::FileDescriptor connected(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) throw gone("its socket's path cannot be used", path);
  std::memcpy(address.sun_path, path.data(), path.size());
  base::FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) throw gone("no socket can be made", std::strerror(errno));
  // At once, or not at all: a unix socket has no connection under way.
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw gone("it does not take connections", std::strerror(errno));
  return socket;
}

}  // namespace

InferenceLink::InferenceLink(const std::string& socket_path, const inference::InferenceRequest& request)
    : socket_(connected(socket_path)), unsent_(request.serialise()) {
  send_some();
}

void InferenceLink::send_some() {
  while (sent_ < unsent_.size()) {
    const ssize_t done = ::send(socket_.get(), unsent_.data() + sent_, unsent_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (done < 0 && would_block()) return;
    if (done < 0) {
      sent_ = unsent_.size();  // what it said before it closed is still to be read
      return;
    }
    sent_ += static_cast<std::size_t>(done);
  }
}

/// False where there is nothing to receive now, or ever.
bool InferenceLink::receive_some() {
  char piece[kReceiveBytes];
  const ssize_t got = ::recv(socket_.get(), piece, sizeof piece, MSG_DONTWAIT);
  if (got < 0 && would_block()) return false;
  if (got <= 0) fault_ = "it went away before its answer's end";
  else buffer_.append(piece, static_cast<std::size_t>(got));
  return got > 0;
}

std::vector<AnswerLine> InferenceLink::take_lines() {
  std::vector<AnswerLine> lines;
  std::size_t begin = 0;
  for (std::size_t end = 0; (end = buffer_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    try {
      lines.push_back(inference::parse_answer(std::string_view(buffer_).substr(begin, end - begin)));
    } catch (const inference::WireError& error) {
      fault_ = error.what();
      buffer_.clear();
      return lines;
    }
  }
  buffer_.erase(0, begin);
  if (buffer_.size() > inference::kAnswerBytes) fault_ = "it sends a line without an end";
  return lines;
}

std::vector<AnswerLine> InferenceLink::read() {
  send_some();
  for (int i = 0; i < kMostReceives && fault_.empty() && receive_some(); ++i) {
  }
  auto lines = take_lines();
  if (lines.empty() && !fault_.empty()) throw WorkerGone(fault_);
  return lines;
}

Wait InferenceLink::wait() const {
  return {.readable = socket_.get(), .at_most = sent_ < unsent_.size() ? kSendPause : kSilence};
}

}  // namespace finetuned::gateway
