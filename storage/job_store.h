#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/job.h"
#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// What was held for a job when it was admitted.
struct Admitted {
  std::int64_t price_version = 0;
  std::int64_t quoted_tokens = 0;
  std::int64_t quoted_nano = 0;
  std::optional<std::string> hold_transfer_id;
  std::optional<std::string> points_hold_id = std::nullopt, liquidity_hold_id = std::nullopt;
};

/// A job as it was read, and what tells this state of its row, and of what belongs to it, from every other.
struct VersionedJob {
  Job job;
  std::string version;
};

/// Jobs as the API sees them, and the changes of state that are not a worker's (those are in job_leases.h).
/// Money is billing's: admission.h and settlement.h call this in their own transactions.
class JobStore {
 public:
  explicit JobStore(postgres::Transaction& tx) : tx_(tx) {}

  /// Inserts in state `validating_files`. Not alone: billing::create_job does it with the hold.
  void insert(const NewJob& job);
  /// validating_files -> queued, with its outbox row for `finetuned:jobs`; put off (execute_later). Of a job that this
  /// transaction has made or locked in that state; one in another state stays as it is.
  void admit(const std::string& id, const Admitted& admitted);

  std::optional<Job> find(const std::string& id);
  /// Those of `ids` that are there, in any order.
  std::vector<Job> find_all(const std::vector<std::string>& ids);
  std::vector<VersionedJob> find_versioned(const std::vector<std::string>& ids);
  /// A SELECT of the jobs of the ids `$1::text[]` that are there: id and version.
  static const char* const kVersions;
  /// Locks the row until the transaction ends. Locks are taken in the order job, then accounts.
  std::optional<Job> find_locked(const std::string& id);
  /// `metadata`: only jobs whose metadata has these string pairs; where it is empty, those without any.
  Page<Job> list(const std::string& project_id, const PageRequest& request,
                 const std::optional<boost::json::object>& metadata = std::nullopt);

  /// validating_files, queued, paused -> cancelled at once; running -> asks the worker to stop. Empty: no such job. A job that
  /// has ended already comes back unchanged. Settle it where it is terminal now (billing::settle_job).
  std::optional<Job> request_cancel(const std::string& id);
  /// queued -> paused at once; running -> asks the worker to stop there; one that the storage failed stays paused until
  /// resume(). Empty: no such job. One in another state comes back unchanged.
  std::optional<Job> request_pause(const std::string& id);
  /// paused -> queued, behind those of its project that wait (its priority counts anew), with its outbox row; takes back a pause that was asked for and has not come
  /// about. Empty: no such job. One in another state comes back unchanged.
  std::optional<Job> resume(const std::string& id);
  /// Forgets the states of ended jobs, which go on no more; their objects are on the list of removals then. How many. System
  /// scope.
  int drop_states_of_ended(int most);
  /// validating_files, queued -> failed. False when in another state.
  bool fail_before_start(const std::string& id, const JobError& error);

  /// Jobs in `validating_files` whose files intake is done with, oldest first, locked; others' are skipped. System scope.
  std::vector<Job> take_waiting(int most);
  /// Ids of queued jobs, oldest first: to rebuild the stream where Redis lost it. System scope.
  std::vector<std::string> queued_ids(int most);
  /// Jobs that have ended and are not settled, oldest first, locked; others' are skipped. System scope.
  std::vector<Job> take_unsettled(int most);
  /// Once, after the end. `trained_tokens` are the billed ones of a job that did not succeed.
  void mark_settled(const std::string& id, std::optional<std::int64_t> trained_tokens);

  std::int64_t count_in_state(const std::string& project_id, JobState state);

  /// Not fenced: for roles other than the worker. `seq` grows in commit order within a job.
  void append_event(const std::string& job_id, const NewEvent& event);
  /// The same for a job whose row this transaction holds already: it has made or locked it. Put off (execute_later).
  void append_events_locked(const std::string& job_id, const std::string& project_id, const std::vector<NewEvent>& events);
  /// Empty page for a job out of sight. `after` is an event id.
  Page<Event> list_events(const std::string& job_id, const PageRequest& request);
  Page<Checkpoint> list_checkpoints(const std::string& job_id, const PageRequest& request);
  std::optional<Checkpoint> last_checkpoint(const std::string& job_id);
  /// The step of the newest metrics event, of those that still hold (billing/donation_verdicts.h); 0: there is none.
  std::int64_t last_told_step(const std::string& job_id);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
