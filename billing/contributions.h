#pragma once

#include <optional>
#include <string>
#include <vector>

#include "storage/challenge_store.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// A contribution's way from submission to its points, in PostgreSQL alone: each function is one transaction's work of one
/// leader (services/contributions), does nothing where there is nothing to do, and may be cut off or run twice anywhere. All
/// want the system scope.
///
/// What counts is measured here: the contribution's recipe and the incumbent's are trained as ordinary jobs of the sponsor
/// with the same seeds, and the metric is read from what the platform's trainer measured. It wins where, over the seeds, it
/// beats the incumbent in a one-sided paired t-test at p < kSignificance and by the challenge's margin on the mean.
inline constexpr double kSignificance = 0.05;
inline constexpr int kVestingDays = 7;      ///< of the database's clock, for the second half of an award
inline constexpr int kMostRunAttempts = 3;  ///< of a run that failed by no fault of its recipe

/// Why a recipe earns nothing and is not measured: it is the incumbent's, or was measured before. Empty: it is new.
std::optional<std::string> repeats(postgres::Transaction& tx, const storage::Challenge& challenge,
                                   const boost::json::value& recipe, const std::string& but_for);

/// Takes the oldest confirmation or contribution of a challenge that has none under way, and writes down which runs it wants;
/// one that repeats an earlier recipe, or whose challenge is closed, is rejected. True where it took one.
bool begin_verification(postgres::Transaction& tx);

/// Runs whose job is not created yet.
std::vector<storage::ContributionRun> runs_to_start(postgres::Transaction& tx, int most);
/// Creates the run's job (admission.h) in this transaction; false where it has one. Throws what create_job throws, an
/// ApiError where the sponsor cannot pay: tried again later.
bool start_run(postgres::Transaction& tx, const storage::ContributionRun& run);
/// Notes why a contribution waits, for its project to read. True where that is news.
bool note_delay(postgres::Transaction& tx, const std::string& contribution_id, const std::string& why);
/// Gives a run up that can never have a job: what it was for fails, when its other runs have ended.
void give_up_run(postgres::Transaction& tx, const storage::ContributionRun& run, const std::string& why);

/// Reads the metric and the curve of runs whose job has ended. A run that failed by no fault of its recipe is to be started
/// again, kMostRunAttempts times. How many were read.
int measure_runs(postgres::Transaction& tx, int most);

/// Decides one contribution all of whose runs are measured, with its award, in this transaction: by the formula (paired_test.h), at most
/// what earlier ones have left of the challenge's reward; half to `prepaid`, half to
/// `escrow`, and the winner is the incumbent. A confirmation vests the escrow, or forfeits it where it does not win again.
bool decide_one(postgres::Transaction& tx);

/// Moves escrows whose time has come to `prepaid`. How many.
int vest_awards(postgres::Transaction& tx, int most);

}  // namespace finetuned::billing
