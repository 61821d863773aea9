#include "trainer/collective/socket.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <thread>

#include "base/errors.h"

namespace finetuned::collective {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kFirstPause{50}, kLongestPause{500}, kOneAttempt{3000};
// A machine that answers no packet is given up after 10 + 4 * 5 seconds. Not by TCP_USER_TIMEOUT, which ends
// connections to those that are there but read nothing while they compute.
constexpr int kIdleSeconds = 10, kProbeSeconds = 5, kProbes = 4;
constexpr std::size_t kMostSilent = 64;

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Addresses resolve(const Endpoint& endpoint, int flags) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int failed =
      getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &wanted, &list);
  if (failed != 0)
    throw base::UsageError("the rendezvous " + to_text(endpoint) + " is unknown: " + gai_strerror(failed));
  return Addresses(list);
}

base::FileDescriptor open_socket(const addrinfo& address) {
  return base::FileDescriptor(
      ::socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address.ai_protocol));
}

void set_option(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value);  // where it is refused, the deadlines still hold
}

/// False at the deadline.
bool wait_for_any(std::span<pollfd> files, Deadline deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
    const int ready = poll(files.data(), files.size(), static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) throw PeerLost(std::strerror(errno));
    if (ready == 0 && left <= 0) return false;
  }
}

bool wait_until_ready(int fd, short events, Deadline deadline) {
  pollfd one{fd, events, 0};
  return wait_for_any({&one, 1}, deadline);
}

/// Whether a connection leads to itself: what TCP makes of a connect() to a port that nobody listens at, when
/// it draws that very port for its own end.
bool leads_to_itself(int fd) {
  sockaddr_storage own{}, other{};
  socklen_t own_size = sizeof own, other_size = sizeof other;
  return getsockname(fd, reinterpret_cast<sockaddr*>(&own), &own_size) == 0 &&
         getpeername(fd, reinterpret_cast<sockaddr*>(&other), &other_size) == 0 && own_size == other_size &&
         std::memcmp(&own, &other, own_size) == 0;
}

/// 0, or the errno of an attempt.
int connect_once(const base::FileDescriptor& fd, const addrinfo& address, Deadline deadline) {
  if (!fd.valid()) return errno;
  int error = connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS || error == EINTR) {
    if (!wait_until_ready(fd.get(), POLLOUT, deadline)) return ETIMEDOUT;
    socklen_t size = sizeof error;
    getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  }
  return error == 0 && leads_to_itself(fd.get()) ? ECONNREFUSED : error;
}

}  // namespace

Socket::Socket(base::FileDescriptor connected) : fd_(std::move(connected)) {
  set_option(fd_.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd_.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd_.get(), IPPROTO_TCP, TCP_KEEPIDLE, kIdleSeconds);
  set_option(fd_.get(), IPPROTO_TCP, TCP_KEEPINTVL, kProbeSeconds);
  set_option(fd_.get(), IPPROTO_TCP, TCP_KEEPCNT, kProbes);
}

void Socket::send(std::span<const std::byte> data, Deadline deadline) {
  while (!data.empty()) {
    const ssize_t sent = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      data = data.subspan(static_cast<std::size_t>(sent));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      throw PeerLost("it closed the connection");
    } else if (errno != EAGAIN && errno != EINTR) {
      throw PeerLost(std::strerror(errno));
    } else if (!wait_until_ready(fd_.get(), POLLOUT, deadline)) {
      throw PeerSilent();
    }
  }
}

void Socket::receive(std::span<std::byte> data, Deadline deadline) {
  while (!data.empty()) {
    const ssize_t got = recv(fd_.get(), data.data(), data.size(), 0);
    if (got > 0) {
      data = data.subspan(static_cast<std::size_t>(got));
    } else if (got == 0 || errno == ECONNRESET) {
      throw PeerLost("it closed the connection");
    } else if (errno != EAGAIN && errno != EINTR) {
      throw PeerLost(std::strerror(errno));
    } else if (!wait_until_ready(fd_.get(), POLLIN, deadline)) {
      throw PeerSilent();
    }
  }
}

bool Socket::closed() const {
  std::byte next;
  const ssize_t got = recv(fd_.get(), &next, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

bool Socket::has_words() const {
  std::byte next;
  return recv(fd_.get(), &next, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

const Socket* wait_for(const Socket& awaited, std::span<const Socket* const> others, Deadline deadline) {
  std::vector<pollfd> files{{awaited.fd_.get(), POLLIN, 0}};
  for (const Socket* other : others)
    files.push_back({other->fd_.get(), POLLRDHUP, 0});
  if (!wait_for_any(files, deadline)) throw PeerSilent();
  for (std::size_t i = 1; i < files.size() && files[0].revents == 0; ++i)
    if (files[i].revents != 0) return others[i - 1];
  return nullptr;
}

base::FileDescriptor listen_at(const Endpoint& endpoint) {
  const Addresses addresses = resolve(endpoint, AI_PASSIVE);
  int error = 0;
  for (const addrinfo* address = addresses.get(); address; address = address->ai_next) {
    base::FileDescriptor fd = open_socket(*address);
    if (fd.valid()) set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (fd.valid() && bind(fd.get(), address->ai_addr, address->ai_addrlen) == 0 &&
        listen(fd.get(), kMostRanks) == 0)
      return fd;
    error = errno;
  }
  throw base::UsageError("rank 0 cannot listen at the rendezvous " + to_text(endpoint) + ": " +
                         std::strerror(error) + "; name an address of this machine and a free port");
}

void WaitingRoom::let_in() {
  base::FileDescriptor fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd.valid()) {
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) throw PeerLost(std::strerror(errno));
    return;
  }
  if (silent_.size() == kMostSilent) silent_.erase(silent_.begin());
  silent_.push_back({Socket(std::move(fd)), steady_clock::now() + patience_});
}

std::optional<Socket> WaitingRoom::next(Deadline deadline) {
  while (steady_clock::now() < deadline) {  // strangers may knock without end
    std::erase_if(silent_, [](const Silent& one) { return one.until <= steady_clock::now(); });
    std::vector<pollfd> files{{listener_.get(), POLLIN, 0}};
    for (const Silent& one : silent_)
      files.push_back({one.connection.fd_.get(), POLLIN, 0});
    const Deadline first_to_go = silent_.empty() ? deadline : std::min(deadline, silent_.front().until);
    if (!wait_for_any(files, first_to_go)) continue;
    for (std::size_t i = 0; i < silent_.size(); ++i) {
      if (files[i + 1].revents == 0) continue;
      Socket speaks = std::move(silent_[i].connection);
      silent_.erase(silent_.begin() + static_cast<std::ptrdiff_t>(i));
      return speaks;
    }
    let_in();
  }
  return std::nullopt;
}

Socket connect_to(const Endpoint& endpoint, Deadline deadline) {
  const Addresses addresses = resolve(endpoint, 0);
  milliseconds pause = kFirstPause;
  for (;;) {
    int error = 0;
    for (const addrinfo* address = addresses.get(); address; address = address->ai_next) {
      base::FileDescriptor fd = open_socket(*address);
      error = connect_once(fd, *address, std::min(deadline, steady_clock::now() + kOneAttempt));
      if (error == 0) return Socket(std::move(fd));
    }
    if (steady_clock::now() + pause >= deadline)
      throw PeerLost("rank 0 was not reached at the rendezvous " + to_text(endpoint) + ": " +
                     std::strerror(error));
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, kLongestPause);
  }
}

}  // namespace finetuned::collective
