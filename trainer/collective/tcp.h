#pragma once

#include <chrono>
#include <memory>

#include "trainer/collective/collective.h"
#include "trainer/collective/rendezvous.h"

namespace finetuned::collective {

struct TcpOptions {
  Endpoint rendezvous;
  int rank = 0;
  int size = 2;                                     ///< 2 to kMostRanks
  std::chrono::milliseconds join_timeout{120'000};  ///< until all are there
  /// What rank 0 waits for another. The others wait twice as long for rank 0, which may itself be waiting: so
  /// it is rank 0 that says who is silent.
  std::chrono::milliseconds peer_timeout = kPeerTimeout;
};

/// Ranks over TCP, a star around rank 0, which listens at the rendezvous until all have come. A sum travels
/// in chunks from rank 0 to each rank in turn, which adds its parts and sends it back; then to all.
///
/// Returns when the group is whole. Throws UsageError, on every rank that has come so far, where one differs
/// in its size or protocol, or has a rank that is taken: the message says who and in what; PeerLost where not
/// all come in time. A rank that went away again may come back. Connections that do not speak the protocol
/// are dropped. Nothing is encrypted and nobody has to prove who he is: for private networks only.
///
/// A message on the wire, numbers little-endian: u32 0x434e5446 ("FTNC"), u16 version 2, u16 kind, u64
/// length, then `length` bytes. Kinds: 1 hello (u32 rank, u32 size), 2 welcome, 3 refusal (text), 4 ended
/// (text), 5 values, 6 a chunk of a sum (empty: no part yet).
std::unique_ptr<Collective> join(const TcpOptions& options);

}  // namespace finetuned::collective
