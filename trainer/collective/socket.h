#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>

#include "base/files.h"
#include "trainer/collective/collective.h"
#include "trainer/collective/rendezvous.h"

namespace finetuned::collective {

using Deadline = std::chrono::steady_clock::time_point;

/// The deadline came first.
struct PeerSilent : PeerLost {
  PeerSilent() : PeerLost("it did not answer in time") {}
};

/// A TCP connection on which every wait has an end. What goes wrong is PeerSilent, or PeerLost, whose message
/// says what: it closed the connection, or the system's words.
class Socket {
 public:
  explicit Socket(base::FileDescriptor connected);

  void send(std::span<const std::byte> data, Deadline deadline);
  void receive(std::span<std::byte> data, Deadline deadline);  ///< all of it
  bool closed() const;                                         ///< by the other side, as far as is known here

 private:
  base::FileDescriptor fd_;
};

/// Listens at one address of `endpoint`. Throws UsageError where that cannot be.
base::FileDescriptor listen_at(const Endpoint& endpoint);
/// The next connection; nothing at the deadline.
std::optional<Socket> accept_one(const base::FileDescriptor& listener, Deadline deadline);
/// Tries again, since rank 0 may not be there yet. Throws PeerLost at the deadline, UsageError where the host
/// is unknown.
Socket connect_to(const Endpoint& endpoint, Deadline deadline);

}  // namespace finetuned::collective
