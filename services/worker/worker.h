#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "services/worker/job_link.h"
#include "services/worker/preloader.h"
#include "services/worker/recheck.h"
#include "services/worker/resident_bases.h"
#include "services/worker/storage_gate.h"
#include "storage/job_leases.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"
#include "storage/storage_pauses.h"

namespace finetuned::worker {

struct JobData;
class JobObserver;

struct WorkerOptions {
  std::string name;                        ///< this process, in leases and logs
  std::string known_as;                    ///< whatever process it is, where it may be donated; empty: nobody's to donate, and the operator's own
  std::filesystem::path scratch_directory;  ///< a folder a job, removed at its end
  LinkOptions link;
  storage::StorageRule storage;             ///< of jobs that the storage failed
  std::int64_t state_steps = 0;             ///< a running job's state is saved each so many steps; 0: not by steps
  std::int64_t state_seconds = 60;          ///< and so long after the last time; 0: not by time
  std::vector<tensor::DeviceSpec> devices{tensor::DeviceSpec{}};  ///< of one class, that train: a job takes as many as its steps can keep busy
  std::filesystem::path program;           ///< finetuned, for the ranks beside this process where there are several devices
  int threads = 0;                         ///< of the trainer on the processor; 0: all cores
  std::uint64_t memory_bytes = 0;          ///< of each device, for a run and bases kept beside it; 0: what it has to give
  std::chrono::seconds peer_timeout{7'200};  ///< what one of several devices is waited for
};

/// Claims jobs one at a time and runs the trainer in this process, and beside it where a job takes several devices (ranks.h). The
/// bases it trained on stay in memory for the jobs that follow, and the one that the next job wants is read while a job trains.
/// One that is not donated also runs checks of those that are (recheck.h), a job between two of them where there is one.
///
/// How a job ends here: trained (`succeeded`); cancelled; failed, where the job's own data or settings cannot be
/// trained on; paused or handed back, when its owner asks, another project's
/// turn has come or this worker shuts down; paused until the storage works again, where that failed it; abandoned, where the lease was lost. Any other exception is
/// ours: the lease is given up as crashed, and the scheduler's sweep counts it and queues the job again.
class Worker {
 public:
  /// `pool` (of at least 4 connections) and `store` outlive this.
  Worker(postgres::Pool& pool, objects::ObjectStore& store, WorkerOptions options);
  ~Worker();

  /// Until `stop`: runs what is queued, then sleeps until wake() or a second has passed. A running job stops at a
  /// step boundary and is handed back, with what the next worker needs to go on from there. What the database throws is logged, and tried again. Throws tensor::CudaFailed: the GPU
  /// is of no more use to this process.
  void run(const std::stop_token& stop);

  /// Claims and runs one job. False when none is queued, or the storage fails this worker. Throws what the database throws at
  /// the claim.
  bool run_one(const std::stop_token& stop);

  /// Something may be queued. Any thread.
  void wake();

  /// What is kept between jobs. Any thread.
  ResidentBases::Counts resident() const { return bases_.counts(); }

 private:
  struct Waker;

  training::RunResult train(const std::string& job_id, JobData& data, const std::filesystem::path& scratch, JobObserver& observer);
  double gemm_gflops();
  struct Claimed;
  struct NotOurs;
  Claimed claim(postgres::Transaction& tx);
  void say_goodbye();
  void run_job(const storage::ClaimedJob& claimed, JobLink& link, const std::stop_token& stop);
  void pause_for_storage(const storage::Job& job, JobLink& link, const std::string& why);
  bool resume_after_storage();
  void give_up(const storage::ClaimedJob& claimed, JobLink& link, const std::string& why);

  postgres::Pool& pool_;
  objects::ObjectStore& store_;
  const WorkerOptions options_;
  const std::string device_class_;    ///< of what it trains on, to those that wait for it
  const std::string engine_;          ///< training::engine_sha256()
  std::string told_refused_;          ///< why it gets no jobs, as was logged
  bool checked_last_ = false;         ///< the last thing that it ran was a check: a job goes first now
  const std::uint64_t memory_bytes_;  ///< of the first device
  std::unique_ptr<Waker> waker_;
  StorageGate storage_gate_;
  std::optional<double> gemm_gflops_;  ///< of the first device, measured before the first run
  ResidentBases bases_;
  Preloader preloader_;  ///< reads into bases_
  Recheck recheck_;      ///< on bases_
};

}  // namespace finetuned::worker
