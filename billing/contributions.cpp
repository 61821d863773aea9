#include "billing/contributions.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cmath>
#include <cstdio>

#include "base/expects.h"
#include "base/ids.h"
#include "base/money.h"
#include "billing/admission.h"
#include "billing/ledger.h"
#include "billing/paired_test.h"
#include "storage/job_store.h"
#include "storage/json_columns.h"

namespace finetuned::billing {

namespace {

namespace json = boost::json;
using postgres::Transaction;
using storage::Challenge;
using storage::ChallengeStore;
using storage::Contribution;
using storage::ContributionRun;
using storage::json_value;

constexpr int kMostCurvePoints = 100;

constexpr char kNext[] =
    "SELECT c.id FROM contribution c WHERE (c.state = 'queued' OR c.state = 'won' AND c.confirm_asked_at IS NOT NULL"
    "  AND c.vested_at IS NULL AND c.forfeited_at IS NULL AND c.round = 1)"
    " AND NOT EXISTS (SELECT FROM contribution u WHERE u.challenge_id = c.challenge_id AND u.state IN ('running', 'confirming'))"
    " ORDER BY c.state DESC, c.seq LIMIT 1 FOR UPDATE SKIP LOCKED";
constexpr char kInsertRuns[] =
    "INSERT INTO contribution_run (contribution_id, round, seed, side) SELECT $1, $2, seed, side"
    " FROM unnest($3::bigint[]) WITH ORDINALITY AS s (seed, place) CROSS JOIN (VALUES ('incumbent'), ('contribution')) AS v (side)"
    " ORDER BY place, side";
constexpr char kEnded[] =
    "SELECT r.contribution_id, r.round, r.seed, r.side, r.job_id FROM contribution_run r JOIN job j ON j.id = r.job_id"
    " WHERE r.measured_at IS NULL AND j.settled_at IS NOT NULL ORDER BY r.seq LIMIT $1 FOR UPDATE OF r SKIP LOCKED";
// Of the last step's event: what the whole of the validation file gave at the end of the training.
constexpr char kValue[] =
    "SELECT (data->>$2)::double precision AS value FROM job_event WHERE job_id = $1 AND type = 'metrics'"
    " AND (data->>'step')::bigint = (SELECT step FROM job WHERE id = $1) AND data->>$2 IS NOT NULL ORDER BY seq DESC LIMIT 1";
constexpr char kCurve[] =
    "WITH points AS (SELECT DISTINCT ON ((data->>'step')::bigint) (data->>'step')::bigint AS step, data FROM job_event"
    "  WHERE job_id = $1 AND type = 'metrics' AND data ? 'train_loss' ORDER BY 1, seq DESC),"
    " placed AS (SELECT *, row_number() OVER (ORDER BY step) AS place, count(*) OVER () AS count FROM points)"
    " SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('step', step, 'train_loss', data->'train_loss',"
    "  'valid_loss', data->'full_valid_loss', 'valid_mean_token_accuracy', data->'full_valid_mean_token_accuracy')) ORDER BY step),"
    "  '[]') AS curve FROM placed WHERE count <= $2 OR place = count OR data->'full_valid_loss' IS NOT NULL AND count < 20 * $2"
    "  OR place % (count / $2 + 1) = 0";
constexpr char kMeasured[] =
    "UPDATE contribution_run SET measured_at = clock_timestamp(), value = $5, problem = $6, curve = $7::jsonb"
    " WHERE contribution_id = $1 AND round = $2 AND seed = $3 AND side = $4 AND measured_at IS NULL";
constexpr char kStartAgain[] =
    "UPDATE contribution_run SET job_id = NULL WHERE contribution_id = $1 AND round = $2 AND seed = $3 AND side = $4";
constexpr char kReady[] =
    "SELECT id FROM contribution c WHERE state IN ('running', 'confirming') AND NOT EXISTS (SELECT FROM contribution_run r"
    "  WHERE r.contribution_id = c.id AND r.round = c.round AND r.measured_at IS NULL) ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED";
constexpr char kDecide[] =
    "UPDATE contribution SET state = $2, reason = $3, decided_at = clock_timestamp(), incumbent_mean = $4, contribution_mean = $5,"
    " p_value = $6, award_micro = $7, escrow_micro = $8,"
    " vests_at = CASE WHEN $8::bigint > 0 THEN clock_timestamp() + make_interval(days => $9) END WHERE id = $1";
constexpr char kDue[] =
    "SELECT id FROM contribution WHERE state = 'won' AND vested_at IS NULL AND forfeited_at IS NULL"
    " AND vests_at <= clock_timestamp() ORDER BY vests_at LIMIT $1 FOR UPDATE SKIP LOCKED";

std::string array_of(const std::vector<std::int64_t>& seeds) {
  std::string text = "{";
  for (const std::int64_t seed : seeds) text += (text.size() > 1 ? "," : "") + std::to_string(seed);
  return text + "}";
}

/// Seeds that nobody could know when the recipe was made.
std::vector<std::int64_t> fresh_seeds(std::size_t count) {
  std::vector<std::int64_t> seeds;
  while (seeds.size() < count) {
    std::int64_t seed = 0;
    for (const char byte : base::random_bytes(4)) seed = seed << 8 | static_cast<unsigned char>(byte);
    seed &= 0x7fffffff;
    if (std::find(seeds.begin(), seeds.end(), seed) == seeds.end()) seeds.push_back(seed);
  }
  return seeds;
}

void end_unmeasured(Transaction& tx, const std::string& id, const char* state, const std::string& reason) {
  tx.execute("UPDATE contribution SET state = $2, reason = $3, decided_at = clock_timestamp() WHERE id = $1", {id, state, reason});
}

std::string short_number(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", number);
  return text;
}

/// What the runs of a round gave.
struct Outcome {
  bool won = false;
  bool broken = false;  ///< the incumbent could not be measured, or the platform failed: nothing is decided by it
  std::string reason;
  std::optional<double> incumbent_mean, contribution_mean;
  PairedTest test;
};

Outcome judge(const Challenge& challenge, const std::vector<ContributionRun>& runs) {
  Outcome outcome;
  const auto side = [&](bool incumbent) {
    std::vector<const ContributionRun*> found;
    for (const ContributionRun& run : runs)
      if (run.of_incumbent == incumbent) found.push_back(&run);
    std::sort(found.begin(), found.end(), [](const auto* a, const auto* b) { return a->seed < b->seed; });
    return found;
  };
  const auto incumbents = side(true), contributions = side(false);
  base::expects(incumbents.size() == contributions.size() && incumbents.size() >= 2, "each seed has its two runs");
  for (const ContributionRun& run : runs) {
    if (run.value) continue;
    outcome.broken |= run.of_incumbent || run.attempts >= kMostRunAttempts;
    outcome.reason = std::string(run.of_incumbent ? "the incumbent" : "the recipe") + " could not be measured with the seed " +
                     std::to_string(run.seed) + ": " + run.problem.value_or("");
  }
  if (!outcome.reason.empty()) return outcome;
  const double sign = challenge.lower_is_better() ? 1 : -1, count = static_cast<double>(incumbents.size());
  std::vector<double> gains;
  double incumbent_mean = 0, contribution_mean = 0;
  for (std::size_t i = 0; i < incumbents.size(); ++i) {
    base::expects(incumbents[i]->seed == contributions[i]->seed, "pairs have one seed");
    gains.push_back(sign * (*incumbents[i]->value - *contributions[i]->value));
    incumbent_mean += *incumbents[i]->value / count;
    contribution_mean += *contributions[i]->value / count;
  }
  outcome.incumbent_mean = incumbent_mean;
  outcome.contribution_mean = contribution_mean;
  outcome.test = paired_test(gains);
  if (outcome.test.t == 0 && outcome.test.p_value == 1)
    outcome.reason = "its results are the incumbent's";
  else if (outcome.test.mean <= 0)
    outcome.reason = "it is not better than the incumbent";
  else if (!(outcome.test.p_value < kSignificance))
    outcome.reason = "better on the mean by " + short_number(outcome.test.mean) + ", which may be luck: p = " +
                     short_number(outcome.test.p_value) + " is not below " + short_number(kSignificance);
  else if (outcome.test.mean < challenge.margin)
    outcome.reason = "better by " + short_number(outcome.test.mean) + ", less than the margin of " + short_number(challenge.margin);
  else
    outcome.won = true;
  return outcome;
}

void move_points(Transaction& tx, const Contribution& of, AccountKind from, AccountKind to, std::int64_t micro, const char* why) {
  if (micro == 0) return;
  Ledger(tx, LedgerName::kPointsMicro)
      .move_between(base::make_uuid(), of.project_id, from, to, {micro}, std::string(why) + " " + of.id);
}

void vest(Transaction& tx, const Contribution& contribution) {
  move_points(tx, contribution, AccountKind::kEscrow, AccountKind::kPrepaid, contribution.escrow_micro, "vested half of the award of");
  tx.execute("UPDATE contribution SET vested_at = clock_timestamp() WHERE id = $1", {contribution.id});
}

void forfeit(Transaction& tx, const Contribution& contribution, const std::string& why) {
  move_points(tx, contribution, AccountKind::kEscrow, AccountKind::kFunding, contribution.escrow_micro, "forfeited half of the award of");
  tx.execute("UPDATE contribution SET forfeited_at = clock_timestamp(), reason = $2 WHERE id = $1",
             {contribution.id, "not confirmed: " + why});
}

/// The challenge is locked.
void decide_first(Transaction& tx, const Challenge& challenge, const Contribution& contribution, const Outcome& outcome) {
  std::int64_t award = 0;
  if (outcome.won)
    award = std::min(challenge.reward_left_micro, award_of(challenge.reward_micro, *outcome.incumbent_mean, *outcome.contribution_mean,
                                                           challenge.target, challenge.lower_is_better()));
  const std::int64_t escrow = award / 2;
  std::optional<std::string> reason;
  if (!outcome.won) reason = outcome.reason;
  std::optional<double> p_value;
  if (outcome.contribution_mean) p_value = outcome.test.p_value;
  tx.execute(kDecide, {contribution.id, outcome.won ? "won" : outcome.broken ? "failed" : "lost", reason, outcome.incumbent_mean,
                       outcome.contribution_mean, p_value, award, escrow, kVestingDays});
  if (!outcome.won) return;
  move_points(tx, contribution, AccountKind::kFunding, AccountKind::kPrepaid, award - escrow, "award of");
  move_points(tx, contribution, AccountKind::kFunding, AccountKind::kEscrow, escrow, "award, to vest, of");
  ChallengeStore(tx).set_incumbent(challenge.id, contribution);
}

/// The award stands; what is decided is the half that waits.
void decide_confirmation(Transaction& tx, const Contribution& contribution, const Outcome& outcome) {
  tx.execute("UPDATE contribution SET state = 'won' WHERE id = $1", {contribution.id});
  if (outcome.broken) return;  // its time will vest it
  if (outcome.won) return vest(tx, contribution);
  forfeit(tx, contribution, outcome.reason);
}

storage::NewJob job_of(const Challenge& challenge, const Contribution& contribution, const ContributionRun& run) {
  storage::NewJob job;
  job.id = base::make_id("ftjob");
  job.project_id = challenge.project_id;
  job.organization_id = challenge.organization_id;
  job.model = challenge.base_model;
  job.base_model = challenge.base_model;
  job.training_file = challenge.training_file;
  job.validation_file = challenge.validation_file;
  job.hyperparameters = run.of_incumbent ? contribution.against : contribution.recipe;
  job.method = json::object{{"type", "supervised"}, {"supervised", json::object{{"hyperparameters", job.hyperparameters}}}};
  job.metadata = json::object{{"challenge", challenge.id},
                              {"contribution", contribution.id},
                              {"side", run.of_incumbent ? "incumbent" : "contribution"}};
  job.seed = run.seed;
  return job;
}

/// A job that failed by the platform's fault, or that somebody stopped, says nothing of its recipe.
bool says_nothing(const storage::Job& job) {
  if (job.state == storage::JobState::kCancelled) return true;
  return job.state == storage::JobState::kFailed && job.error &&
         (job.error->code == "worker_crashed" || job.error->code == "internal_error");
}

}  // namespace

std::optional<std::string> repeats(Transaction& tx, const Challenge& challenge, const json::value& recipe,
                                   const std::string& but_for) {
  const auto same = tx.execute("SELECT $1::jsonb = $2::jsonb AS same", {json_value(recipe), json_value(challenge.incumbent)});
  if (same.row(0).boolean("same")) return "it is the incumbent's recipe";
  const auto earlier = tx.execute(
      "SELECT id FROM contribution WHERE challenge_id = $1 AND recipe = $2::jsonb AND contribution_mean IS NOT NULL AND id <> $3"
      " ORDER BY seq LIMIT 1",
      {challenge.id, json_value(recipe), but_for});
  if (earlier.empty()) return std::nullopt;
  return "its recipe was measured before, as " + earlier.row(0).text("id");
}

bool begin_verification(Transaction& tx) {
  const auto next = tx.execute(kNext);
  if (next.empty()) return false;
  ChallengeStore store(tx);
  const Contribution contribution = *store.find_contribution(next.row(0).text("id"));
  const Challenge challenge = *store.find_locked(contribution.challenge_id);
  if (contribution.state == "won") {
    tx.execute("UPDATE contribution SET state = 'confirming', round = 2 WHERE id = $1", {contribution.id});
    tx.execute(kInsertRuns, {contribution.id, 2, array_of(fresh_seeds(challenge.seeds.size()))});
    return true;
  }
  if (challenge.closed_at) {
    end_unmeasured(tx, contribution.id, "rejected", "the challenge was closed before its turn");
    return true;
  }
  if (const auto why = repeats(tx, challenge, contribution.recipe, contribution.id)) {
    end_unmeasured(tx, contribution.id, "rejected", *why);
    return true;
  }
  tx.execute("UPDATE contribution SET state = 'running', reason = NULL, against = $2::jsonb, against_id = $3 WHERE id = $1",
             {contribution.id, json_value(challenge.incumbent), challenge.incumbent_id});
  tx.execute(kInsertRuns, {contribution.id, 1, array_of(challenge.seeds)});
  return true;
}

std::vector<ContributionRun> runs_to_start(Transaction& tx, int most) {
  const auto rows = tx.execute(
      "SELECT r.contribution_id, r.round, r.seed, r.side FROM contribution_run r JOIN contribution c ON c.id = r.contribution_id"
      " WHERE r.job_id IS NULL AND r.measured_at IS NULL ORDER BY c.reason IS NOT NULL, r.seq LIMIT $1", {most});
  std::vector<ContributionRun> runs;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    ContributionRun run;
    run.contribution_id = rows.row(i).text("contribution_id");
    run.round = static_cast<int>(rows.row(i).integer("round"));
    run.seed = rows.row(i).integer("seed");
    run.of_incumbent = rows.row(i).text("side") == "incumbent";
    runs.push_back(std::move(run));
  }
  return runs;
}

bool start_run(Transaction& tx, const ContributionRun& run) {
  const auto taken = tx.execute(
      "SELECT FROM contribution_run WHERE contribution_id = $1 AND round = $2 AND seed = $3 AND side = $4 AND job_id IS NULL"
      " AND measured_at IS NULL FOR UPDATE SKIP LOCKED",
      {run.contribution_id, run.round, run.seed, run.of_incumbent ? "incumbent" : "contribution"});
  if (taken.empty()) return false;
  ChallengeStore store(tx);
  const Contribution contribution = *store.find_contribution(run.contribution_id);
  const storage::Job job = create_job(tx, job_of(*store.find(contribution.challenge_id), contribution, run));
  tx.execute("UPDATE contribution_run SET job_id = $5, attempts = attempts + 1 WHERE contribution_id = $1 AND round = $2"
             " AND seed = $3 AND side = $4",
             {run.contribution_id, run.round, run.seed, run.of_incumbent ? "incumbent" : "contribution", job.id});
  tx.execute("UPDATE contribution SET reason = NULL WHERE id = $1 AND state IN ('running', 'confirming') AND reason IS NOT NULL",
             {run.contribution_id});
  return true;
}

bool note_delay(Transaction& tx, const std::string& contribution_id, const std::string& why) {
  return tx.execute("UPDATE contribution SET reason = $2 WHERE id = $1 AND state IN ('running', 'confirming') AND reason IS DISTINCT FROM $2",
                    {contribution_id, why}).affected_rows() == 1;
}

void give_up_run(Transaction& tx, const ContributionRun& run, const std::string& why) {
  tx.execute("UPDATE contribution_run SET measured_at = clock_timestamp(), problem = $5, attempts = $6 WHERE contribution_id = $1"
             " AND round = $2 AND seed = $3 AND side = $4 AND job_id IS NULL AND measured_at IS NULL",
             {run.contribution_id, run.round, run.seed, run.of_incumbent ? "incumbent" : "contribution", why, kMostRunAttempts});
}

int measure_runs(Transaction& tx, int most) {
  const auto ended = tx.execute(kEnded, {most});
  ChallengeStore store(tx);
  for (std::size_t i = 0; i < ended.size(); ++i) {
    const auto row = ended.row(i);
    const std::string contribution_id = row.text("contribution_id"), side = row.text("side"), job_id = row.text("job_id");
    const std::int64_t round = row.integer("round"), seed = row.integer("seed");
    const storage::Job job = *storage::JobStore(tx).find(job_id);
    const Challenge challenge = *store.find(store.find_contribution(contribution_id)->challenge_id);
    const std::int64_t attempts =
        tx.execute("SELECT attempts FROM contribution_run WHERE contribution_id = $1 AND round = $2 AND seed = $3 AND side = $4",
                   {contribution_id, round, seed, side}).row(0).integer("attempts");
    if (says_nothing(job) && attempts < kMostRunAttempts) {
      tx.execute(kStartAgain, {contribution_id, round, seed, side});
      continue;
    }
    std::optional<double> value;
    std::optional<std::string> problem;
    if (job.state == storage::JobState::kSucceeded) {
      const auto found = tx.execute(kValue, {job_id, "full_" + challenge.metric});
      if (!found.empty() && std::isfinite(found.row(0).real("value"))) value = found.row(0).real("value");
      if (!value) problem = "the training diverged: its " + challenge.metric + " is no number";
    } else {
      problem = job.error ? job.error->code : "its runs were cancelled";
    }
    const std::string curve = tx.execute(kCurve, {job_id, kMostCurvePoints}).row(0).text("curve");
    tx.execute(kMeasured, {contribution_id, round, seed, side, value, problem, curve});
  }
  return static_cast<int>(ended.size());
}

bool decide_one(Transaction& tx) {
  const auto ready = tx.execute(kReady);
  if (ready.empty()) return false;
  ChallengeStore store(tx);
  const Contribution contribution = *store.find_contribution(ready.row(0).text("id"));
  const Challenge challenge = *store.find_locked(contribution.challenge_id);
  const Outcome outcome = judge(challenge, store.runs(contribution.id, contribution.round));
  if (contribution.state == "confirming")
    decide_confirmation(tx, contribution, outcome);
  else
    decide_first(tx, challenge, contribution, outcome);
  return true;
}

int vest_awards(Transaction& tx, int most) {
  const auto due = tx.execute(kDue, {most});
  for (std::size_t i = 0; i < due.size(); ++i)
    vest(tx, *ChallengeStore(tx).find_contribution(due.row(i).text("id")));
  return static_cast<int>(due.size());
}

}  // namespace finetuned::billing
