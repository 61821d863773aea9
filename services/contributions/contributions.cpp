#include "services/contributions/contributions.h"

#include <set>
#include <string>

#include "base/errors.h"
#include "base/log.h"
#include "base/stop.h"
#include "billing/contributions.h"
#include "storage/recheck_store.h"

namespace finetuned::contributions {

namespace {

using postgres::Scope;
using postgres::Transaction;

constexpr std::int64_t kLeader = 0x66740101;
constexpr int kMostAtOnce = 50;
constexpr int kMostStarted = 1'000;

constexpr std::string_view kTryLock =
    "SELECT set_config('idle_in_transaction_session_timeout', $2, true), pg_try_advisory_xact_lock($1) AS taken";

}  // namespace

/// What `step` returns; nothing done (false, 0, none) where another leads.
template <class Step>
auto Contributions::lead(Step step) {
  using Done = std::invoke_result_t<Step&, Transaction&>;
  return pool_.transact(Scope::system(), [&](Transaction& tx) -> Done {
    const std::string patience = std::to_string(kStepSeconds) + "s";
    if (!tx.execute(kTryLock, {kLeader, patience}).row(0).boolean("taken")) return Done{};
    return step(tx);
  });
}

void Contributions::run(const std::stop_token& stop) {
  do {
    try {
      advance();
    } catch (const std::exception& error) {
      base::log_error("contributions could not be moved on; trying again", {{"why", error.what()}});
    }
  } while (base::sleep_unless_stopped(stop, pause_));
}

void Contributions::advance() {
  while (lead([](Transaction& tx) { return billing::measure_runs(tx, kMostAtOnce); }) == kMostAtOnce) continue;
  while (lead([](Transaction& tx) { return billing::decide_one(tx); })) continue;
  while (lead([](Transaction& tx) { return billing::begin_verification(tx); })) continue;
  start_runs();
  while (lead([](Transaction& tx) { return billing::vest_awards(tx, kMostAtOnce); }) == kMostAtOnce) continue;
  while (lead([](Transaction& tx) { return storage::RecheckStore(tx).sweep(kMostAtOnce); }) == kMostAtOnce) continue;
  while (lead([](Transaction& tx) { return storage::RecheckStore(tx).open_one(); })) continue;
  while (lead([](Transaction& tx) { return storage::DonationEvidence(tx).thin(); })) continue;
}

/// A transaction each: one that is refused is undone, and the others stand. Of a contribution that has to wait, no more is
/// tried this time; what others want goes on.
void Contributions::start_runs() {
  const auto runs = pool_.transact(Scope::system(), [](Transaction& tx) { return billing::runs_to_start(tx, kMostStarted); });
  std::set<std::string> waiting;
  for (const storage::ContributionRun& run : runs) {
    if (waiting.contains(run.contribution_id)) continue;
    try {
      lead([&](Transaction& tx) { return billing::start_run(tx, run); });
    } catch (const base::ApiError& refused) {
      if (refused.status >= 500) throw;  // the database's
      if (refused.status != 429) {
        lead([&](Transaction& tx) { return billing::give_up_run(tx, run, refused.code), true; });
        continue;
      }
      waiting.insert(run.contribution_id);
      const bool news = lead([&](Transaction& tx) {
        return billing::note_delay(tx, run.contribution_id, "its runs wait: the sponsor's project cannot have the job now (" + refused.code + ")");
      });
      if (news) base::log_warn("a verification waits", {{"contribution", run.contribution_id}, {"why", refused.what()}});
    }
  }
}

}  // namespace finetuned::contributions
