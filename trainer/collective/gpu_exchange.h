#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "trainer/collective/collective.h"

namespace finetuned::collective {

/// What tells GPUs of all machines apart: the driver's UUID.
using GpuId = std::array<std::uint8_t, 16>;

/// The twin of a Collective for what lies on the ranks' GPUs, one of each rank: NCCL. Only moves numbers, so that their sums are the
/// callers', in the order that they choose.
class GpuExchange {
 public:
  /// Called by all ranks. `stream`: this rank's cudaStream_t, on whose device the current thread is; it and `group`, whose timeout
  /// holds here too, outlive this. Null, on every rank, where one of them has no NCCL, or two are on one GPU: then the host has to be
  /// the way. Throws PeerLost, and tensor::CudaFailed where this process's own GPU failed.
  static std::unique_ptr<GpuExchange> join(Collective& group, const GpuId& gpu, void* stream);
  ~GpuExchange();
  GpuExchange(const GpuExchange&) = delete;
  GpuExchange& operator=(const GpuExchange&) = delete;

  struct Outgoing {
    int to = 0;
    std::span<const float> values;
  };
  struct Incoming {
    int from = 0;
    std::span<float> values;
  };
  /// Called by all ranks: what one has for another, that one expects, as many numbers and in the same order. Behind all that was
  /// started on the stream before; returns when it is done. Throws as join(), at the latest after the timeout; the exchange is over
  /// then.
  void trade(std::span<const Outgoing> out, std::span<const Incoming> in);

 private:
  struct Joined;
  explicit GpuExchange(std::unique_ptr<Joined> joined);

  std::unique_ptr<Joined> joined_;
};

}  // namespace finetuned::collective
