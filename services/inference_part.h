#pragma once

#include <cstdint>
#include <thread>

#include "base/settings.h"
#include "storage/objects/object_store.h"
#include "trainer/tensor/any_device.h"

namespace finetuned::services {

/// Bytes of a worker's first device.
struct MemoryShares {
  std::uint64_t training = 0;  ///< for worker::WorkerOptions: 0 where it shall find out itself
  std::uint64_t inference = 0;
};

/// What training and inference may take, as the settings say. Asks for GPUs in a child process. Throws UsageError as
/// tensor::device_memory_bytes().
MemoryShares share_memory(const base::Settings& settings, const tensor::DeviceSpec& device);

/// The inference service beside a worker's training, on a thread of its own, with its own connections. That it cannot start is
/// logged, and training goes on without it.
class InferencePart {
 public:
  /// Nothing where inference.enabled is false. `settings` and `store` outlive this.
  InferencePart(const base::Settings& settings, objects::ObjectStore& store, const tensor::DeviceSpec& device,
                std::uint64_t memory_bytes);
  InferencePart(const InferencePart&) = delete;
  InferencePart& operator=(const InferencePart&) = delete;

  /// Begins the drain. Any thread; the destructor waits for its end.
  void stop() { thread_.request_stop(); }

 private:
  std::jthread thread_;
};

}  // namespace finetuned::services
