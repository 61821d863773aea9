#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// The right to run a job until the lease ends by the database's clock. Every write of a worker names it.
struct JobLease {
  std::string job_id;
  std::int64_t epoch = 0;
};

struct ClaimedJob {
  Job job;
  JobLease lease;
  std::optional<std::string> stretch = {};  ///< of a donated worker (donation_store.h)
};

/// The outcome of a sweep, one a job whose worker went silent.
struct SweptJob {
  std::string id;
  std::string project_id;
  JobState state = JobState::kQueued;  ///< queued (runs again), paused, failed (`worker_crashed`) or cancelled (was asked to)
};

/// A job's way through a worker. Methods that take a lease return false, having changed nothing, when it is lost (epoch
/// passed on, lease over, job no longer running): the worker abandons the job at once.
class JobLeases {
 public:
  explicit JobLeases(postgres::Transaction& tx) : tx_(tx) {}

  /// queued -> running: the first job of the project whose turn it is (fair_share.h), which is charged for it. Two workers
  /// never get the same one. System scope.
  std::optional<ClaimedJob> claim(const std::string& worker, std::int64_t lease_seconds);

  /// The directory of the base model that the next claim()'s job wants; nothing where there is none. Only looks:
  /// another worker may get that job. System scope.
  std::optional<std::string> next_base_directory();

  struct Beat {
    bool held = false;
    bool cancel_requested = false;
    bool pause_requested = false;
    bool preempt_requested = false;  ///< to make room for another project (preemption.h)
  };
  /// Extends the lease and reads whether the job shall stop.
  Beat heartbeat(const JobLease& lease, std::int64_t lease_seconds);
  /// Only reads: for a poll more often than the heartbeat.
  Beat peek(const JobLease& lease);

  bool set_progress(const JobLease& lease, std::int64_t step, std::int64_t total_steps, std::int64_t trained_tokens,
                    std::optional<std::int64_t> estimated_finish);
  bool append_events(const JobLease& lease, const std::vector<NewEvent>& events);
  /// A step that an earlier attempt committed already stays as it is, unless that was distrusted (billing/donation_verdicts.h); `*already_there` tells, so that the caller may
  /// remove the objects it wrote again.
  bool add_checkpoint(const JobLease& lease, const NewCheckpoint& checkpoint, bool* already_there);

  /// What the job goes on from where its worker dies, in the place of what it had before, as release() has it.
  bool save_state(const JobLease& lease, const SavedState& saved);

  /// running -> succeeded. In the same transaction: files, model, billing::settle_job.
  bool succeed(const JobLease& lease, const std::string& fine_tuned_model,
               const std::vector<std::string>& result_files, std::int64_t trained_tokens);
  /// running -> failed. `worker_crashed` and `internal_error` are our fault and bill nothing.
  bool fail(const JobLease& lease, const JobError& error);
  /// running -> cancelled, after cancel was requested.
  bool finish_cancelled(const JobLease& lease);
  /// Gives a job back that was not run to its end, without a crash counted: running -> cancelled or paused where that was
  /// asked for, even in the last moment, else -> queued, with its outbox row. Tells which; empty: the lease is lost. Settle
  /// one that is cancelled (billing::settle_job) in the same transaction.
  ///
  /// `saved`: what the job goes on from, in the place of what it had before, whose object is removed. Its own object stands
  /// on the list of removals (RemovalStore) and is taken off it; one that does not stand there any more is none. Empty: what
  /// the job had stays.
  std::optional<JobState> release(const JobLease& lease, const std::optional<SavedState>& saved);

  /// Running jobs whose lease is over: -> queued with a crash counted and an outbox row; at `most_attempts` crashes
  /// without a further state between them -> failed `worker_crashed`; asked to cancel -> cancelled; asked to pause -> paused. With an event each.
  /// System scope; settle those that ended (billing::settle_job) in the same transaction.
  std::vector<SweptJob> sweep(int most_attempts, int most_jobs);

 private:
  std::optional<SavedState> take_over(const postgres::Row& held, const std::optional<SavedState>& saved);
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
