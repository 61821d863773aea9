#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"
#include "storage/recheck_store.h"

namespace finetuned::billing {

/// The check's steps came out in the same bits: what its stretch has in escrow is spendable. False, and nothing is done, where the
/// lease is lost. System scope, as all here.
bool agree(postgres::Transaction& tx, const storage::ClaimedRecheck& check, const std::string& detail);

/// What it cost a worker that told something else than it trained.
struct Forfeit {
  std::int64_t micro_points = 0;
  std::vector<std::string> jobs;  ///< that its undecided stretches are of
};

/// The check's steps came out otherwise. Nothing of the worker's that is not decided yet is to be trusted:
///  - its escrow is forfeited (escrow -> funding), and it is stopped;
///  - a job of such a stretch that has not ended goes back to where the first of them began, its lease ended where it runs; what
///    it has booked stays booked, and no step is billed again. Checkpoints behind that step are taken back, and what its end does
///    not have again is not paid (settlement.h). Stretches of later leases, whoever's, are superseded, which began with what was
///    not to be trusted, and earlier ones that began at that step or behind it: nothing of them is left in the job;
///  - a job that has ended is told so, and gets back what it was charged (corrections).
/// Superseded stretches forfeit as the others and leave their jobs alone: what those began with is perhaps known to be wrong.
/// An entry in the audit log of the organization whose project earned. Empty where the lease is lost.
std::optional<Forfeit> disagree(postgres::Transaction& tx, const storage::ClaimedRecheck& check, const std::string& detail);

/// The operator's word instead of a check, where none can be run: vests what a worker has in escrow of stretches that are over.
/// Those stretches' ids. Their checks are `settled`.
std::vector<std::string> settle_stretches(postgres::Transaction& tx, const std::string& worker);

/// The same the other way: as disagree(), by the operator's word.
Forfeit distrust(postgres::Transaction& tx, const std::string& worker, const std::string& reason);

}  // namespace finetuned::billing
