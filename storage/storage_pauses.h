#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/job_leases.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

struct StorageRule {
  std::int64_t first_retry_seconds = 2;    ///< doubled with each pause in a row
  std::int64_t most_retry_seconds = 600;   ///< between two tries at most
  std::int64_t patience_seconds = 86'400;  ///< of a run that gets no further, before its job is given up
};

/// Jobs whose data could not be written or read, by no doing of theirs: paused with the reason `storage_unavailable`, and queued
/// again by whichever worker finds that its storage works. Nobody has to do anything; their holds stay.
class StoragePauses {
 public:
  explicit StoragePauses(postgres::Transaction& tx) : tx_(tx) {}

  /// running -> paused, where the run was last saved, with an event; cancelled, or paused by its owner, where that was
  /// asked for. Tells which: kFailed, nothing being changed, where the run has got no further for as long as `rule` has
  /// patience, for the caller to end it. Empty: the lease is lost. Settle one that is cancelled (billing::settle_job) in
  /// the same transaction.
  std::optional<JobState> pause(const JobLease& lease, const StorageRule& rule);

  /// Whether a job may be tried again by now. System scope.
  bool any_due();
  /// The jobs that are due: paused -> queued, at the places they had, with an event and an outbox row each. Their ids. System scope.
  std::vector<std::string> resume_due(int most);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
