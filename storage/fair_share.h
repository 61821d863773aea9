#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// Who is served next: weighted fair queueing between projects, by start tags (Goyal, Vin, Cheng: Start-time Fair Queueing,
/// SIGCOMM 1996), and within a project by turn_at. Deficit round robin's shares and bounds, without its rounds: there is no
/// list of projects to go around, and no dispatcher. All of it is rows, changed in the transaction that claims.
///
///   V          virtual time, in tokens a unit of weight: the start tag of the run that was begun last (share_clock)
///   F          a project's tag: where its next run would begin (project_share); none is 0
///   start tag  max(F, V)
///   claim      of the projects that have a queued job and may run one more (quota `running_jobs`), the one with the least
///              start tag S; of equal ones that with the least tag, then that whose job waits longest. V := S; F := S + tokens / weight, where tokens are
///              those of the quote that an earlier run of the job has not saved
///   end        of a run, whoever ends it: F -= what it was charged for and has not trained or saved (a trigger, end_run)
///
/// It follows:
/// - Between any two times, the tokens by weight that two projects with waiting jobs began differ by at most one job of each:
///   |T_a / w_a - T_b / w_b| <= l_a / w_a + l_b / w_b, l being a project's largest job. Long queues come as near to their
///   weights as one likes; a job is never cut for it, except by preemption.h.
/// - A project that comes back after a pause begins at V: its idle time earns nothing, and it waits for one job of each other
///   project at most (a dispatch round), those that still pay for a larger one excepted.
/// - Capacity that nobody else wants costs nothing later: alone, a project carries V along, and is ahead by its last job only.
/// - A project at its quota stands aside, and earns nothing by that.
/// - Within a project a step of priority is worth an hour of waiting: turn_at = queued_at - priority hours. No job waits for
///   one that was queued more than 20 hours behind it, whatever their priorities: none starves.
///
/// One claim at a time, by an advisory lock: shares and quotas are exact whatever number of workers claims at once. A worker that
/// dies in a claim frees the lock at once, one that is stopped in it after kClaimSeconds. A claim costs one look into
/// an index for each project that waits; how many jobs it has queued does not matter. The lock is held for one statement and
/// the commit.
class FairShare {
 public:
  explicit FairShare(postgres::Transaction& tx) : tx_(tx) {}

  static constexpr int kClaimSeconds = 5;

  /// A project whose turn it may be.
  struct Turn {
    std::string project_id;
    std::string job_id;     ///< its first one
    std::string start_tag;  ///< exact, as the database writes it
  };

  /// Until the transaction ends nobody else claims. False, and no lock, where nothing is queued.
  bool lock();
  /// lock() and, where it has the lock, begin_run() for the job whose turn it is, in one message. Empty also where somebody changes
  /// that job at this moment: turns() has others.
  std::optional<Job> begin_next(const std::string& worker, std::int64_t lease_seconds);
  /// The projects that have a queued job and may run one more, in the order of their turns. System scope.
  std::vector<Turn> turns();
  /// Under lock(): queued -> running for the project's first job that nobody else changes at this moment; sets V, and charges
  /// the project. Empty where there is none any more.
  std::optional<Job> begin_run(const Turn& turn, const std::string& worker, std::int64_t lease_seconds);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
