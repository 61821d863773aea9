#include "services/metering/metering.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/stop.h"
#include "billing/archiving.h"
#include "billing/inference_charge.h"
#include "billing/sealer.h"
#include "billing/settlement.h"
#include "billing/spend_alerts.h"

namespace finetuned::metering {

namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

constexpr int kMostSettled = 100;
constexpr int kMostSealed = 2'000;
constexpr int kMostAlerts = 100;
constexpr int kBatch = 100, kMostBatches = 10;  // of what others left open, in one turn
constexpr std::chrono::milliseconds kReplayLimit{300'000};  // it reads every transfer

constexpr std::string_view kInsertReconciliation = R"(
    INSERT INTO reconciliation (started_at, settled, faults, details)
    VALUES ($1::timestamptz, $2::bigint, $3::bigint, $4::jsonb))";

// Old rows go: a site that reconciles each minute keeps a week.
constexpr std::string_view kForgetOldReconciliations = R"(
    DELETE FROM reconciliation WHERE seq <= (SELECT max(seq) FROM reconciliation) - 10080)";

/// Until a batch was not full, a transaction each; how many in all.
template <class Batch>
std::size_t in_batches(postgres::Pool& pool, const Batch& batch) {
  std::size_t done = 0, more = kBatch;
  for (int turn = 0; turn < kMostBatches && more == kBatch; ++turn) done += more = pool.transact(Scope::system(), batch);
  return done;
}

std::string details_of(const billing::LedgerVerification& verification) {
  json::array faults;
  for (const billing::LedgerFault& fault : verification.faults)
    faults.push_back(json::object{{"rule", fault.rule}, {"detail", fault.detail}});
  return json::serialize(json::object{{"accounts", verification.accounts},
                                      {"transfers", verification.transfers},
                                      {"usages", verification.usages},
                                      {"sealed", verification.sealed},
                                      {"unsealed", verification.unsealed},
                                      {"faults", std::move(faults)}});
}

}  // namespace

Metering::Metering(postgres::Pool& pool, MeteringOptions options, base::SigningKey key, billing::HeadFiles heads)
    : pool_(pool), options_(options), key_(std::move(key)), heads_(std::move(heads)) {}

void Metering::run(const std::stop_token& stop) {
  using Clock = std::chrono::steady_clock;
  const auto attempt = [](const char* what, const auto& duty) {
    try {
      duty();
    } catch (const std::exception& error) {
      base::log_error("a duty failed; trying again", {{"duty", what}, {"why", error.what()}});
    }
  };
  auto reconciliation_due = Clock::now(), alerts_due = Clock::now();
  do {
    attempt("sealing", [this] { seal(); });
    if (Clock::now() >= alerts_due) {
      attempt("spend alerts", [this] { tell_alerts(); });
      attempt("expiring holds", [this] { expire_holds(); });
      attempt("archived projects' jobs", [this] { end_archived_jobs(); });
      alerts_due = Clock::now() + options_.alert_pause;
    }
    if (Clock::now() < reconciliation_due) continue;
    attempt("reconciliation", [this] { reconcile(); });
    reconciliation_due = Clock::now() + options_.reconcile_pause;
  } while (base::sleep_unless_stopped(stop, std::min(options_.seal_pause, options_.reconcile_pause)));
  attempt("sealing", [this] { seal(); });
}

std::size_t Metering::seal() {
  std::size_t sealed = 0, more = 0;
  do {
    more = pool_.transact(Scope::system(), [](Transaction& tx) { return billing::seal_transfers(tx, kMostSealed); });
    sealed += more;
  } while (more == kMostSealed);
  latest_is_behind_ |= sealed > 0;  // and stays so where the file cannot be written
  if (latest_is_behind_) {
    heads_.put_latest(pool_.transact(Scope::system(), [this](Transaction& tx) { return billing::sign_ends(tx, key_); }));
    latest_is_behind_ = false;
  }
  return sealed;
}

std::size_t Metering::tell_alerts() {
  std::size_t told = 0, more = 0;
  do {
    more = pool_.transact(Scope::system(), [](Transaction& tx) { return billing::tell_spend_alerts(tx, kMostAlerts); });
    told += more;
  } while (more == kMostAlerts);
  if (told > 0) base::log_info("spend alerts were reached", {{"alerts", static_cast<std::int64_t>(told)}});
  return told;
}

std::size_t Metering::expire_holds() {
  const std::size_t expired =
      in_batches(pool_, [](Transaction& tx) { return billing::expire_inference_holds(tx, kBatch); });
  if (expired > 0)
    base::log_warn("requests had left their holds open", {{"holds", static_cast<std::int64_t>(expired)}});
  return expired;
}

std::size_t Metering::end_archived_jobs() {
  const std::size_t ended =
      in_batches(pool_, [](Transaction& tx) { return billing::end_archived_jobs(tx, std::nullopt, kBatch); });
  if (ended > 0) base::log_info("jobs of archived projects were ended", {{"jobs", static_cast<std::int64_t>(ended)}});
  return ended;
}

billing::LedgerVerification Metering::verify() {
  const std::string today = base::iso8601_utc(base::SystemClock().now()).substr(0, 10);
  const billing::ChainPlaces from = verified_on_ == today ? verified_ : billing::ChainPlaces();
  billing::ChainPlaces ends;
  auto verification = pool_.snapshot(
      Scope::system(),
      [&](Transaction& tx) {
        auto replayed = billing::verify_ledger(tx);
        const auto heads = billing::read_heads(tx);
        replayed.heads = static_cast<std::int64_t>(heads.size());
        const std::size_t before = replayed.faults.size();
        ends = billing::verify_chains(tx, from, heads, replayed);
        if (replayed.faults.size() > before) ends.clear();
        return replayed;
      },
      kReplayLimit);
  if (!ends.empty()) verified_ = std::move(ends), verified_on_ = today;
  return verification;
}

Reconciliation Metering::reconcile() {
  const std::string started = base::iso8601_utc(base::SystemClock().now());
  Reconciliation outcome;
  std::size_t settled = 0;
  do {
    settled = pool_.transact(Scope::system(),
                             [](Transaction& tx) { return billing::settle_ended_jobs(tx, kMostSettled); });
    outcome.settled += settled;
  } while (settled == kMostSettled);
  pool_.transact(Scope::system(), [this](Transaction& tx) {
    heads_.append(billing::keep_heads(tx, key_, true));  // before the commit: what the table has, the file has
  });
  outcome.verification = verify();
  const auto& faults = outcome.verification.faults;
  pool_.transact(Scope::system(), [&](Transaction& tx) {
    tx.execute(kInsertReconciliation,
               {started, static_cast<std::int64_t>(outcome.settled), static_cast<std::int64_t>(faults.size()),
                details_of(outcome.verification)});
    tx.execute(kForgetOldReconciliations);
  });
  if (outcome.settled > 0)
    base::log_warn("ended jobs had been left unsettled", {{"jobs", static_cast<std::int64_t>(outcome.settled)}});
  for (const billing::LedgerFault& fault : faults)
    base::log_error("THE LEDGER DOES NOT ADD UP", {{"rule", fault.rule}, {"detail", fault.detail}});
  return outcome;
}

}  // namespace finetuned::metering
