#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/job_leases.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// A machine that was donated (WorkerIdentity::known_as).
struct DonatedWorker {
  std::string name;
  std::string project_id;  ///< earns
  std::int64_t donated_at = 0;
  std::optional<std::int64_t> withdrawn_at;
  std::optional<std::int64_t> stopped_at;
  std::optional<std::string> stop_reason;

  bool gets_jobs() const { return !withdrawn_at && !stopped_at; }
};

/// What it did. Points in micro-points.
struct DonatedTotals {
  DonatedWorker worker;
  std::int64_t tokens = 0;  ///< of the steps that earned
  std::int64_t earned_micro = 0;
  std::int64_t pending_micro = 0;
  std::int64_t forfeited_micro = 0;
  std::int64_t agreed = 0;     ///< checks
  std::int64_t disagreed = 0;
  std::int64_t given_up = 0;   ///< to be settled by the operator
  std::int64_t waiting = 0;    ///< or running
};

/// Who is donated, who is the operator's own, and which leases of jobs are theirs (migrations 0027, 0028). While nobody was ever
/// donated, every machine is the operator's own; from then on those are that it has let in as such. System scope.
class DonationStore {
 public:
  explicit DonationStore(postgres::Transaction& tx) : tx_(tx) {}

  std::optional<DonatedWorker> find(const std::string& name);
  /// The same, nothing of it changing until the transaction ends: for a claim, which a stop then follows.
  std::optional<DonatedWorker> find_for_claim(const std::string& name);
  std::vector<DonatedTotals> list();
  /// Whether a machine is the operator's own. Nothing of that changes until the transaction ends, where machines are donated: for a
  /// claim, which a `disown` then follows.
  bool is_own(const std::string& name);

  /// Each is false where it is so already (for `donate`, for that project), or where there is no such donated worker. An own machine
  /// that is donated runs no checks and exports on: those are not for it any more.
  bool donate(const std::string& name, const std::string& project_id);
  /// Whether a machine was ever donated.
  bool any();
  /// The machines whose workers are known, but for `name`, become the operator's own, before the first one is donated: they go on.
  /// Those; none later.
  std::vector<std::string> own_all_but(const std::string& name);
  /// `own`: false for a machine that was donated, too.
  bool own(const std::string& name);
  bool disown(const std::string& name);
  bool withdraw(const std::string& name);
  bool stop(const std::string& name, const std::string& reason);
  bool allow(const std::string& name);
  /// Ends the leases of the jobs that a machine's processes run, as if they had run out: nothing more is written under them, and the
  /// scheduler's sweep has the jobs run again, this being no crash of theirs. Those jobs. And of the checks and exports that they run.
  std::vector<std::string> end_leases(const std::string& name);

  /// Whether the job's figures decide over a contribution (migration 0025). Those are a worker's own word, which no check covers.
  bool decides(const std::string& job_id);

  /// Its part in the job begins, in the transaction of the claim. The stretch's id.
  std::string begin_stretch(const ClaimedJob& claimed, const DonatedWorker& worker, const std::string& engine);

 private:
  /// Its checks and exports.
  void end_own_acts(const std::string& name);
  bool changed(std::string_view sql, const std::vector<postgres::Value>& values);
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
