#include "storage/recheck_store.h"

#include <algorithm>

#include "base/ids.h"
#include "storage/job_store.h"

namespace finetuned::storage {

namespace {

/// $1 check, $2 epoch: the row while its lease holds, by the database's clock.
#define FENCE " id = $1 AND lease_epoch = $2 AND state = 'running' AND lease_until > clock_timestamp()"

constexpr char kOver[] =
    "SELECT s.id, s.job_id, s.worker, s.engine, s.first_step, s.earned_micro FROM donated_stretch s JOIN job j ON j.id = s.job_id"
    " WHERE s.decided_at IS NULL AND (j.state <> 'running' OR j.lease_epoch <> s.lease_epoch)"
    " AND NOT EXISTS (SELECT FROM donated_check c WHERE c.stretch_id = s.id) ORDER BY s.seq LIMIT 1 FOR NO KEY UPDATE OF j";
constexpr char kInsert[] =
    "INSERT INTO donated_check (id, stretch_id, engine, seed, from_step, to_step, state, detail)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
constexpr char kClaim[] =
    "WITH next AS (SELECT id FROM donated_check WHERE state = 'waiting' AND engine = $2 ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " UPDATE donated_check c SET state = 'running', checker = $1, lease_epoch = c.lease_epoch + 1,"
    " lease_until = clock_timestamp() + make_interval(secs => $3::double precision) FROM next, donated_stretch s"
    " WHERE c.id = next.id AND s.id = c.stretch_id RETURNING c.id, c.lease_epoch, c.stretch_id, c.from_step, c.to_step, s.job_id, s.worker,"
    " s.first_step, s.first_tokens, s.first_object, s.micro_batch_tokens, s.recompute";
constexpr char kHeartbeat[] =
    "UPDATE donated_check SET lease_until = clock_timestamp() + make_interval(secs => $3::double precision) WHERE" FENCE;
constexpr char kEnd[] =
    "UPDATE donated_check SET state = $3, detail = $4, attempts = attempts + $5, lease_until = NULL,"
    " decided_at = CASE WHEN $3 = 'waiting' THEN NULL ELSE clock_timestamp() END WHERE" FENCE;
constexpr char kFail[] =
    "UPDATE donated_check SET state = CASE WHEN attempts + 1 >= $4 THEN 'given_up' ELSE 'waiting' END, detail = $3, attempts = attempts + 1,"
    " lease_until = NULL, decided_at = CASE WHEN attempts + 1 >= $4 THEN clock_timestamp() END WHERE" FENCE;
constexpr char kSweep[] =
    "UPDATE donated_check SET state = CASE WHEN attempts + 1 >= $2 THEN 'given_up' ELSE 'waiting' END,"
    " detail = 'the worker that ran it went silent', attempts = attempts + 1, lease_until = NULL,"
    " decided_at = CASE WHEN attempts + 1 >= $2 THEN clock_timestamp() END WHERE id IN (SELECT id FROM donated_check"
    "  WHERE state = 'running' AND lease_until <= clock_timestamp() LIMIT $1 FOR UPDATE SKIP LOCKED)";
#undef FENCE

std::int64_t fresh_seed() {
  std::uint64_t seed = 0;
  for (const char byte : base::random_bytes(8)) seed = seed << 8 | static_cast<unsigned char>(byte);
  return static_cast<std::int64_t>(seed >> 1);
}

}  // namespace

/// Of steps behind `from` up to and with `to`.
struct RecheckStore::Window {
  std::int64_t seed = 0, from = 0, to = 0;
};

bool RecheckStore::open_one() {
  const auto over = tx_.execute(kOver);
  if (over.empty()) return false;
  const auto stretch = over.row(0);
  const std::vector<Evidence> told = DonationEvidence(tx_).of(stretch.text("id"));
  const std::int64_t first = stretch.integer("first_step");
  if (told.empty() && stretch.integer("earned_micro") == 0) {
    tx_.execute("UPDATE donated_stretch SET decided_at = clock_timestamp(), outcome = 'nothing' WHERE id = $1", {stretch.text("id")});
    DonationEvidence(tx_).let_go(stretch.text("id"));
    return true;
  }
  std::vector<Window> windows;  // from one state to the next, the last one to the end of what was told
  std::int64_t from = first, steps = 0;
  bool kept = true;
  const auto close = [&](std::int64_t to) {
    if (kept && to > from) windows.push_back({0, from, to}), steps += to - from;
    from = std::max(from, to);
  };
  for (const Evidence& one : told) {
    if (one.kind != Evidence::Kind::kState || one.step <= from) continue;
    close(one.step);
    kept = one.object_id.has_value();
  }
  if (!told.empty()) close(told.back().step);
  Window drawn{fresh_seed(), first, first};
  std::int64_t left = steps > 0 ? drawn.seed % steps : 0;
  for (const Window& window : windows) {
    if (left < window.to - window.from) {
      drawn.from = window.from, drawn.to = window.to;
      break;
    }
    left -= window.to - window.from;
  }
  insert(stretch, drawn);
  DonationEvidence(tx_).drop_states(stretch.text("id"), drawn.from);
  return true;
}

void RecheckStore::insert(const postgres::Row& stretch, const Window& window) {
  std::optional<std::string> cannot;
  if (window.to == window.from) cannot = "the worker told of no step that can be run again";
  if (window.to - window.from > kMostSteps)
    cannot = "it would take " + std::to_string(window.to - window.from) + " steps: its worker kept no state for so long";
  tx_.execute(kInsert, {base::make_id("recheck"), stretch.text("id"), stretch.text("engine"), window.seed, window.from, window.to,
                        cannot ? "given_up" : "waiting", cannot});
}

std::optional<ClaimedRecheck> RecheckStore::claim(const std::string& checker, const std::string& engine, std::int64_t lease_seconds) {
  const auto rows = tx_.execute(kClaim, {checker, engine, lease_seconds});
  if (rows.empty()) return std::nullopt;
  const auto row = rows.row(0);
  ClaimedRecheck claimed;
  claimed.id = row.text("id");
  claimed.epoch = row.integer("lease_epoch");
  claimed.worker = row.text("worker");
  claimed.job = *JobStore(tx_).find(row.text("job_id"));
  if (const auto tokens = row.maybe_integer("micro_batch_tokens")) claimed.layout = RunLayout{*tokens, row.boolean("recompute")};
  claimed.to_step = row.integer("to_step");
  const std::int64_t from = row.integer("from_step");
  if (from == row.integer("first_step"))
    claimed.from = {Evidence::Kind::kState, from, row.integer("first_tokens"), "", row.maybe_text("first_object")};
  for (const Evidence& one : DonationEvidence(tx_).of(row.text("stretch_id"))) {
    const bool is_between = one.kind == Evidence::Kind::kState && one.step < claimed.to_step;  // only the end's can be compared
    if (one.step > from && one.step <= claimed.to_step && !is_between) claimed.expected.push_back(one);
    if (one.step == from && one.kind == Evidence::Kind::kState && from != row.integer("first_step")) claimed.from = one;
  }
  return claimed;
}

bool RecheckStore::heartbeat(const ClaimedRecheck& claimed, std::int64_t lease_seconds) {
  return tx_.execute(kHeartbeat, {claimed.id, claimed.epoch, lease_seconds}).affected_rows() == 1;
}

bool RecheckStore::release(const ClaimedRecheck& claimed) {
  return tx_.execute(kEnd, {claimed.id, claimed.epoch, "waiting", std::nullopt, 0}).affected_rows() == 1;
}

bool RecheckStore::fail(const ClaimedRecheck& claimed, const std::string& why) {
  return tx_.execute(kFail, {claimed.id, claimed.epoch, why, kMostAttempts}).affected_rows() == 1;
}

bool RecheckStore::give_up(const ClaimedRecheck& claimed, const std::string& why) {
  return tx_.execute(kEnd, {claimed.id, claimed.epoch, "given_up", why, 1}).affected_rows() == 1;
}

bool RecheckStore::decide(const ClaimedRecheck& claimed, bool agreed, const std::string& detail) {
  return tx_.execute(kEnd, {claimed.id, claimed.epoch, agreed ? "agreed" : "disagreed", detail, 1}).affected_rows() == 1;
}

int RecheckStore::sweep(int most) { return static_cast<int>(tx_.execute(kSweep, {most, kMostAttempts}).affected_rows()); }

}  // namespace finetuned::storage
