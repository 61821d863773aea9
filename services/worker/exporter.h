#pragma once

#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>

#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::worker {

struct ExporterOptions {
  std::string name;                        ///< this process, in leases
  std::filesystem::path scratch_directory;  ///< the worker's: a folder an attempt
  std::int64_t lease_seconds = 120;
  std::string known_as = {};               ///< as WorkerOptions'
};

/// Turns fine-tuned models into files that engines elsewhere load (storage/export_store.h): `peft` is a tar of the
/// adapter's own files, `merged` one of a Hugging Face directory with the adapter merged into its base. It works beside
/// the jobs, on a thread of its own at the lowest priority, and writes straight into the object store. Only on a machine of the
/// operator's own (donation_store.h): nobody runs an export again.
class Exporter {
 public:
  /// Both outlive this. `pool` needs a connection for this thread.
  Exporter(postgres::Pool& pool, objects::ObjectStore& store, ExporterOptions options);

  /// Until `stop`, on the calling thread. An export that `stop` broke off is handed back.
  void run(const std::stop_token& stop);
  /// One export. False when none waits for this machine, or the storage failed it: it waits again then, and no attempt is counted. Throws what the database throws at the claim.
  bool run_one(const std::stop_token& stop);

 private:
  postgres::Pool& pool_;
  objects::ObjectStore& store_;
  const ExporterOptions options_;
};

}  // namespace finetuned::worker
