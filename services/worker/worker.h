#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>

#include "services/worker/job_link.h"
#include "storage/job_leases.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::worker {

struct WorkerOptions {
  std::string name;                        ///< this process, in leases and logs
  std::filesystem::path scratch_directory;  ///< a folder a job, removed at its end
  LinkOptions link;
  int threads = 0;                         ///< of the trainer; 0: all cores
  std::uint64_t memory_bytes = 0;          ///< what a run may take; 0: no bound but the machine's
};

/// Claims jobs one at a time and runs the trainer in this process.
///
/// How a job ends here: trained (`succeeded`); cancelled; failed, where the job's own data or settings cannot be
/// trained on; handed back, when this worker shuts down; abandoned, where the lease was lost. Any other exception is
/// ours: the lease is given up as crashed, and the scheduler's sweep counts it and queues the job again.
class Worker {
 public:
  /// `pool` (of at least 2 connections) and `store` outlive this.
  Worker(postgres::Pool& pool, objects::ObjectStore& store, WorkerOptions options);
  ~Worker();

  /// Until `stop`: runs what is queued, then sleeps until wake() or a second has passed. A running job stops at a
  /// step boundary and is handed back. What the database throws is logged, and tried again.
  void run(const std::stop_token& stop);

  /// Claims and runs one job. False when none is queued. Throws what the database throws at the claim.
  bool run_one(const std::stop_token& stop);

  /// Something may be queued. Any thread.
  void wake();

 private:
  struct Waker;

  void run_job(const storage::ClaimedJob& claimed, JobLink& link, const std::stop_token& stop);
  void give_up(const storage::ClaimedJob& claimed, JobLink& link, const std::string& why);

  postgres::Pool& pool_;
  objects::ObjectStore& store_;
  WorkerOptions options_;
  std::unique_ptr<Waker> waker_;
};

}  // namespace finetuned::worker
