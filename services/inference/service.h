#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>

#include "services/inference/directory.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"
#include "trainer/tensor/any_device.h"

namespace finetuned::inference {

struct ServiceOptions {
  std::string name;                 ///< this process: HOST:PID
  std::filesystem::path directory;  ///< where its socket lies, and adapters while they are read
  tensor::DeviceSpec device;
  int threads = 0;                 ///< on the processor; 0: all cores
  std::int64_t batch = 16;         ///< sequences that are continued together
  std::size_t queue = 64;          ///< requests that wait
  std::uint64_t memory_bytes = 0;  ///< of the device
  std::string build;               ///< of this program, for the models' fingerprints
  std::chrono::milliseconds patience{2'000};  ///< of another model's requests with the model that runs
  std::chrono::milliseconds drain{15'000};    ///< what runs at the end may take so long
};

/// Answers chats and completions over a unix socket (wire.h), and says so in the directory. Threads of its own: one for the
/// engine, one that advertises, one a connection, of which there are a bounded number.
class InferenceService {
 public:
  /// Listens from here on. `pool` (of at least 2 connections), `store` and `redis` outlive this. Throws as Listener and
  /// tensor::AnyDevice do.
  InferenceService(postgres::Pool& pool, objects::ObjectStore& store, redis::Client& redis, ServiceOptions options);
  ~InferenceService();

  /// Until `stop`; then refuses new requests (503), and ends those that run within the drain time.
  void run(const std::stop_token& stop);

  const std::filesystem::path& socket() const;
  std::int64_t base_reads() const;  ///< how often a base was read

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::inference
