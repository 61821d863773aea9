#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "services/worker/job_link.h"
#include "services/worker/resident_bases.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"
#include "storage/recheck_store.h"
#include "trainer/tensor/any_device.h"

namespace finetuned::worker {

struct RecheckOptions {
  std::filesystem::path scratch_directory;
  LinkOptions link;  ///< its lease and heartbeat
  tensor::DeviceSpec device;
  int threads = 0;
  std::uint64_t memory_bytes = 0;
};

/// Runs steps of a donated worker's again on this worker, which is the operator's and computes by the same engine, and compares
/// bit for bit with what that told (storage/recheck_store.h). One device is enough: how many there are changes no bit.
class Recheck {
 public:
  /// All outlive this.
  Recheck(postgres::Pool& pool, objects::ObjectStore& store, ResidentBases& bases, RecheckOptions options)
      : pool_(pool), store_(store), bases_(bases), options_(std::move(options)) {}

  /// Runs the check and commits its verdict, with what follows from it. `claimed_at` was read before the claim. Where `stop` is
  /// requested it waits for another worker; what goes wrong here is counted and logged, and decides nothing. Throws
  /// tensor::CudaFailed, after that.
  void run(const storage::ClaimedRecheck& claimed, std::chrono::steady_clock::time_point claimed_at, const std::stop_token& stop);

 private:
  class Lease;
  class Observer;
  struct Verdict;
  std::optional<Verdict> compare(const storage::ClaimedRecheck& claimed, const Lease& lease, const std::stop_token& stop);
  void decide(const storage::ClaimedRecheck& claimed, const Verdict& verdict);
  void leave(const storage::ClaimedRecheck& claimed, const std::string& why, bool counts);

  postgres::Pool& pool_;
  objects::ObjectStore& store_;
  ResidentBases& bases_;
  const RecheckOptions options_;
};

}  // namespace finetuned::worker
