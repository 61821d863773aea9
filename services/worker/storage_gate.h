#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "storage/objects/object_store.h"

namespace finetuned::worker {

/// Whether this worker may take a job: not while its storage fails. What is tried then is small, and seldom: an object and
/// a scratch file are written, read again and removed, one second after the failure and then less and less often. One thread.
class StorageGate {
 public:
  static constexpr std::chrono::seconds kFirstPause{1}, kLongestPause{60};  ///< between tries; doubled with each

  /// `store` outlives this.
  StorageGate(objects::ObjectStore& store, std::filesystem::path scratch_directory);

  /// The storage failed a job: closed until a try succeeds.
  void close();
  /// Open, or open again after a try that was due.
  bool open();
  /// Tries now, whatever is due. False closes it.
  bool probe();

 private:
  objects::ObjectStore& store_;
  const std::filesystem::path scratch_;
  std::chrono::seconds pause_{0};  ///< 0: open
  std::chrono::steady_clock::time_point next_{};
};

/// Whether it is the storage that is at fault, not the job: StorageFault, and what the file system throws of a disk that is
/// full or failing. Empty: it is not; else what to log.
std::string storage_fault_of(const std::exception& error);

}  // namespace finetuned::worker
