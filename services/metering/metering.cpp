#include "services/metering/metering.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/stop.h"
#include "billing/settlement.h"

namespace finetuned::metering {

namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

constexpr int kMostSettled = 100;
constexpr std::chrono::milliseconds kReplayLimit{300'000};  // it reads every transfer

constexpr std::string_view kInsertReconciliation = R"(
    INSERT INTO reconciliation (started_at, settled, faults, details)
    VALUES ($1::timestamptz, $2::bigint, $3::bigint, $4::jsonb))";

// Old rows go: a site that reconciles each minute keeps a week.
constexpr std::string_view kForgetOldReconciliations = R"(
    DELETE FROM reconciliation WHERE seq <= (SELECT max(seq) FROM reconciliation) - 10080)";

std::string details_of(const billing::LedgerVerification& verification) {
  json::array faults;
  for (const billing::LedgerFault& fault : verification.faults)
    faults.push_back(json::object{{"rule", fault.rule}, {"detail", fault.detail}});
  return json::serialize(json::object{{"accounts", verification.accounts},
                                      {"transfers", verification.transfers},
                                      {"usages", verification.usages},
                                      {"faults", std::move(faults)}});
}

}  // namespace

Metering::Metering(postgres::Pool& pool, std::chrono::milliseconds pause) : pool_(pool), pause_(pause) {}

void Metering::run(const std::stop_token& stop) {
  do {
    try {
      reconcile();
    } catch (const std::exception& error) {
      base::log_error("the reconciliation failed; trying again", {{"why", error.what()}});
    }
  } while (base::sleep_unless_stopped(stop, pause_));
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
  outcome.verification = pool_.transact(
      Scope::system(), [](Transaction& tx) { return billing::verify_ledger(tx); }, kReplayLimit);
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
