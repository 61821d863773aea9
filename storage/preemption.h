#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

struct PreemptionRule {
  std::int64_t after_seconds = 60;    ///< of waiting without a running job, before another project's job makes room
  std::int64_t pause_seconds = 1200;  ///< from a job's preemption until it may be preempted again: three an hour
};

/// Asks running jobs to make room at their next step, where all workers are taken and a project that may run has waited for
/// `after_seconds` without any of its jobs running. A job that makes room saves its state and is queued again at its old
/// place in its project; it goes on bit for bit, and is charged for the rest only (fair_share.h).
///
/// A project's job makes room for one that waits only where its project has had more, by weight: the tag that it would have,
/// had its runs ended now, is more than the waiting one's. So what is freed goes to who waited, and two projects take
/// turns no faster than by their weights. Of the projects that have had more, that with most running jobs by its weight gives up the one
/// whose turn comes last (of equal ones, that which is furthest ahead); one job a project and call, no more jobs in all than
/// projects wait, and none that began less than `after_seconds` ago, ends within them, or made room in the last `pause_seconds`.
///
/// Returns the jobs that were asked. System scope.
std::vector<std::string> request_preemptions(postgres::Transaction& tx, const PreemptionRule& rule);

}  // namespace finetuned::storage
