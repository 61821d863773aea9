#include "billing/donation_verdicts.h"

#include <optional>

#include "base/ids.h"
#include "billing/give_back.h"
#include "billing/ledger.h"
#include "storage/audit_store.h"
#include "storage/donation_store.h"
#include "storage/job_store.h"
#include "storage/organization_store.h"
#include "storage/removal_store.h"

namespace finetuned::billing {

namespace {

using postgres::Transaction;
using postgres::Value;

constexpr char kOpen[] =
    "SELECT s.id, s.job_id, s.lease_epoch, s.donor_id, s.worker, s.escrow_micro, s.first_step, s.first_tokens, s.first_object,"
    " s.superseded_at IS NOT NULL AS superseded FROM donated_stretch s"
    " WHERE s.outcome IS NULL AND ";
constexpr char kDecided[] =
    "UPDATE donated_stretch SET decided_at = clock_timestamp(), outcome = $2, verdict_id = $3::uuid WHERE id = $1";
// A lease that goes on elsewhere is no crash: the sweep, which ends it, counts one.
constexpr char kGoBack[] =
    "UPDATE job SET state_object = $2, state_step = nullif($3::bigint, 0), state_tokens = CASE WHEN $3::bigint > 0 THEN $4::bigint END,"
    " step = CASE WHEN state = 'running' THEN step ELSE $3::bigint END,"
    " trained_tokens = CASE WHEN state = 'running' THEN trained_tokens WHEN $3::bigint > 0 THEN $4::bigint END,"
    " attempts = CASE WHEN state = 'running' THEN -1 ELSE 0 END,"
    " told_from = coalesce((SELECT max(seq) FROM job_event WHERE job_id = $1), 0),"
    " lease_until = CASE WHEN state = 'running' THEN clock_timestamp() END WHERE id = $1";
constexpr char kTakeBack[] =
    "WITH bad AS (SELECT id, project_id, objects FROM job_checkpoint WHERE job_id = $1 AND step > $2 AND distrusted_at IS NULL),"
    " marked AS (UPDATE job_checkpoint c SET distrusted_at = clock_timestamp(), objects = '{}', sha256 = '{}' FROM bad WHERE c.id = bad.id)"
    " SELECT bad.project_id, o.value AS object_id FROM bad, jsonb_each_text(bad.objects) o";
// Later leases began with what goes, or behind it, and earlier ones that began at or behind it left no state before it: nothing of
// them is left.
constexpr char kSupersede[] =
    "WITH left_out AS (UPDATE donated_stretch SET superseded_at = clock_timestamp() WHERE job_id = $1 AND superseded_at IS NULL"
    "  AND (lease_epoch > $2 OR (lease_epoch < $2 AND first_step >= $3)) RETURNING id)"
    " UPDATE donated_work SET superseded = true WHERE stretch_id IN (SELECT id FROM left_out)";
constexpr char kStanding[] =
    "UPDATE job SET (standing_steps, standing_tokens) = (SELECT coalesce(max(step), 0), coalesce(max(trained_tokens), 0) FROM job_checkpoint"
    " WHERE job_id = $1 AND distrusted_at IS NULL) WHERE id = $1";

/// What a stretch has in escrow goes to `to`, and its states with it.
void decide(Transaction& tx, const postgres::Row& stretch, AccountKind to, const char* outcome, const char* why) {
  const std::string id = stretch.text("id");
  const std::int64_t micro = stretch.integer("escrow_micro");
  std::optional<std::string> transfer;
  if (micro > 0) {
    transfer = base::make_uuid();
    Ledger(tx, LedgerName::kPointsMicro)
        .move_between(*transfer, stretch.text("donor_id"), AccountKind::kEscrow, to, {micro}, std::string(why) + " " + id);
  }
  tx.execute(kDecided, {id, outcome, transfer});
  storage::DonationEvidence(tx).let_go(id);
}

void vest(Transaction& tx, const postgres::Row& stretch, const char* why) { decide(tx, stretch, AccountKind::kPrepaid, "vested", why); }

void lock_jobs(Transaction& tx, const std::vector<std::string>& jobs) {
  tx.execute("SELECT FROM job WHERE id = ANY ($1::text[]) ORDER BY id FOR NO KEY UPDATE", {Value::texts(jobs)});
}

void tell(Transaction& tx, const std::string& job, std::string text) {
  storage::NewEvent event;
  event.level = storage::EventLevel::kWarn;
  event.message = std::move(text);
  storage::JobStore(tx).append_event(job, event);
}

void take_charge_back(Transaction& tx, const storage::Job& job) {
  give_back(tx, job.id, {0}, "a worker's training of " + job.id + " was not confirmed");
  const bool any = given_back(tx, job.id).value > 0;  // now, or by an earlier verdict
  tell(tx, job.id, std::string("A part of this job was trained by a worker whose results could not be confirmed. ") +
                       (any ? "What it cost was given back; create it again." : "It cost nothing; create it again."));
}

/// The job as it was before the stretch.
void go_back(Transaction& tx, const storage::Job& job, const postgres::Row& stretch) {
  storage::RemovalStore removals(tx);
  const std::int64_t step = stretch.integer("first_step");
  const auto object = stretch.maybe_text("first_object");
  tx.execute(kGoBack, {job.id, object, step, stretch.integer("first_tokens")});
  if (job.saved && job.saved->object_id != object) removals.add(job.project_id, job.saved->object_id);
  const auto checkpoints = tx.execute(kTakeBack, {job.id, step});
  for (std::size_t i = 0; i < checkpoints.size(); ++i)
    removals.add(checkpoints.row(i).text("project_id"), checkpoints.row(i).text("object_id"));
  tx.execute(kStanding, {job.id});
  tx.execute(kSupersede, {job.id, stretch.integer("lease_epoch"), step});
  tell(tx, job.id, "What a worker trained after step " + std::to_string(step) +
                       " could not be confirmed; the job goes on from there, and nothing is billed twice");
}

void audit_stop(Transaction& tx, const std::string& worker, const std::string& reason, const Forfeit& forfeit) {
  const auto donated = storage::DonationStore(tx).find(worker);
  const auto project = storage::OrganizationStore(tx).find_project(donated->project_id);
  storage::AuditStore(tx).record({project->organization_id, project->id, "worker.stopped", std::nullopt,
                                  {{"id", worker},
                                   {"data", {{"reason", reason}, {"forfeited_micro_points", std::to_string(forfeit.micro_points)}}}}});
}

}  // namespace

// A worker's row is locked before its jobs, and those before its checks: verdicts that meet wait for each other.

bool agree(Transaction& tx, const storage::ClaimedRecheck& check, const std::string& detail) {
  lock_jobs(tx, {check.job.id});
  if (!storage::RecheckStore(tx).decide(check, true, detail)) return false;
  const auto open = tx.execute(std::string(kOpen) + "s.id = (SELECT stretch_id FROM donated_check WHERE id = $1) FOR NO KEY UPDATE", {check.id});
  if (!open.empty()) vest(tx, open.row(0), "vested: a part of it came out the same when it was run again:");
  return true;
}

std::optional<Forfeit> disagree(Transaction& tx, const storage::ClaimedRecheck& check, const std::string& detail) {
  tx.execute("SELECT FROM donated_worker WHERE name = $1 FOR UPDATE", {check.worker});
  if (!storage::RecheckStore(tx).decide(check, false, detail)) return std::nullopt;
  return distrust(tx, check.worker, "the check " + check.id + " disagreed: " + detail);
}

Forfeit distrust(Transaction& tx, const std::string& worker, const std::string& reason) {
  storage::DonationStore(tx).stop(worker, reason);
  Forfeit forfeit;
  const auto jobs = tx.execute("SELECT DISTINCT job_id FROM donated_stretch WHERE worker = $1 AND outcome IS NULL ORDER BY job_id", {worker});
  for (std::size_t i = 0; i < jobs.size(); ++i) forfeit.jobs.push_back(jobs.row(i).text("job_id"));
  lock_jobs(tx, forfeit.jobs);
  const auto open = tx.execute(std::string(kOpen) + "s.worker = $1 ORDER BY s.job_id, s.lease_epoch FOR NO KEY UPDATE", {worker});
  std::string seen_to;
  for (std::size_t i = 0; i < open.size(); ++i) {
    const auto stretch = open.row(i);
    if (stretch.boolean("superseded") || stretch.text("job_id") == seen_to) continue;  // its job has nothing of it
    seen_to = stretch.text("job_id");
    const storage::Job job = *storage::JobStore(tx).find(seen_to);
    if (storage::is_terminal(job.state))
      take_charge_back(tx, job);
    else
      go_back(tx, job, stretch);
  }
  for (std::size_t i = 0; i < open.size(); ++i) {
    const auto stretch = open.row(i);
    forfeit.micro_points += stretch.integer("escrow_micro");
    tx.execute("UPDATE donated_work SET forfeited = true WHERE stretch_id = $1", {stretch.text("id")});
    decide(tx, stretch, AccountKind::kFunding, "forfeited", "forfeited:");
  }
  tx.execute("UPDATE donated_check SET state = 'dropped', lease_until = NULL, decided_at = clock_timestamp() WHERE state IN ('waiting', 'running', 'given_up')"
             " AND stretch_id IN (SELECT id FROM donated_stretch WHERE worker = $1)", {worker});
  audit_stop(tx, worker, reason, forfeit);
  return forfeit;
}

std::vector<std::string> settle_stretches(Transaction& tx, const std::string& worker) {
  const auto of = tx.execute("SELECT DISTINCT job_id FROM donated_stretch WHERE worker = $1 AND outcome IS NULL", {worker});
  std::vector<std::string> jobs, ids;
  for (std::size_t i = 0; i < of.size(); ++i) jobs.push_back(of.row(i).text("job_id"));
  lock_jobs(tx, jobs);
  const auto checks = tx.execute(
      "UPDATE donated_check SET state = 'settled', lease_until = NULL, decided_at = clock_timestamp() WHERE state IN ('waiting', 'running', 'given_up')"
      " AND stretch_id IN (SELECT id FROM donated_stretch WHERE worker = $1 AND outcome IS NULL AND job_id = ANY ($2::text[])) RETURNING stretch_id",
      {worker, Value::texts(jobs)});
  for (std::size_t i = 0; i < checks.size(); ++i) ids.push_back(checks.row(i).text("stretch_id"));
  const auto open = tx.execute(std::string(kOpen) + "s.id = ANY ($1::text[]) FOR NO KEY UPDATE", {Value::texts(ids)});
  for (std::size_t i = 0; i < open.size(); ++i) vest(tx, open.row(i), "vested by the operator:");
  return ids;
}

}  // namespace finetuned::billing
