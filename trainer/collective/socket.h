#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

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
  bool has_words() const;                                      ///< whether something is there to be received

 private:
  friend class WaitingRoom;
  friend const Socket* wait_for(const Socket&, std::span<const Socket* const>, Deadline);

  base::FileDescriptor fd_;
};

/// Listens at one address of `endpoint`. Throws UsageError where that cannot be.
base::FileDescriptor listen_at(const Endpoint& endpoint);

/// Waits until `awaited` can be received from, be it that it has ended: then null; or until one of `others` has closed its
/// side: that one. Throws PeerSilent at the deadline.
const Socket* wait_for(const Socket& awaited, std::span<const Socket* const> others, Deadline deadline);

/// Those who came to a listener and have not said anything yet. They keep nobody waiting who does: each is sent away after its
/// time, and, where there are many, the one that has been silent longest.
class WaitingRoom {
 public:
  /// `listener` outlives it.
  WaitingRoom(const base::FileDescriptor& listener, std::chrono::milliseconds patience)
      : listener_(listener), patience_(patience) {}

  /// The next connection that says something, or ends; nothing at the deadline.
  std::optional<Socket> next(Deadline deadline);

 private:
  struct Silent {
    Socket connection;
    Deadline until;
  };
  void let_in();

  const base::FileDescriptor& listener_;
  std::chrono::milliseconds patience_;
  std::vector<Silent> silent_;  ///< in the order of their coming
};

/// Tries again, since rank 0 may not be there yet. Throws PeerLost at the deadline, UsageError where the host
/// is unknown.
Socket connect_to(const Endpoint& endpoint, Deadline deadline);

}  // namespace finetuned::collective
