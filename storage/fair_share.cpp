#include "storage/fair_share.h"

#include "storage/job_rows.h"

namespace finetuned::storage {

namespace {

/// A row where anything waits, and a setting that later statements of the transaction see. A client that is stopped between two
/// statements holds the lock no longer than $1.
constexpr char kLock[] =
    "SELECT set_config('idle_in_transaction_session_timeout', $1, true), pg_advisory_xact_lock(hashtextextended('claim', 0)),"
    " set_config('finetuned.claims', 'on', true)"
    " FROM (SELECT id FROM job WHERE state = 'queued' ORDER BY queued_at, seq LIMIT 1) AS waits";

/// The planner goes by figures that are old where many jobs were queued at once, takes the queue for short, and would read and
/// sort all of it again for each project. Nothing here is to be sorted before a limit: the indexes have the order. (What is off and
/// cannot be done without is reckoned so dear that it would be compiled.)
constexpr char kByIndexAlone[] =
    "SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true),"
    " set_config('enable_sort', 'off', true), set_config('jit', 'off', true)";

/// `first`: each project's first job, by going from one project to the next in the index job_turn, whatever number of jobs
/// each has. `turn`: those of them that may run, in the order of their turns.
#define TURNS                                                                                                          \
  "WITH RECURSIVE first AS ("                                                                                          \
  "  (SELECT project_id, id, queued_at, seq FROM job WHERE state = 'queued' ORDER BY project_id, turn_at, seq LIMIT 1)" \
  "  UNION ALL SELECT next.* FROM first f CROSS JOIN LATERAL (SELECT j.project_id, j.id, j.queued_at, j.seq FROM job j" \
  "   WHERE j.state = 'queued' AND j.project_id > f.project_id ORDER BY j.project_id, j.turn_at, j.seq LIMIT 1) AS next)," \
  " turn AS (SELECT f.project_id, f.id, greatest(coalesce(s.tag, 0), (SELECT tag FROM share_clock)) AS start_tag FROM first f" \
  "  LEFT JOIN project_share s ON s.project_id = f.project_id LEFT JOIN project_quota q ON q.project_id = f.project_id" \
  "  WHERE q.running_jobs IS NULL OR q.running_jobs >"                                                                 \
  "   (SELECT count(*) FROM job r WHERE r.state = 'running' AND r.project_id = f.project_id)"                          \
  "  ORDER BY start_tag, coalesce(s.tag, 0), f.queued_at, f.seq"

constexpr char kTurns[] = TURNS ") SELECT project_id, id, start_tag FROM turn";

/// $1 worker, $2 lease; WHICH job, and its START tag. The project's tag is read where it is changed: a run that ended meanwhile
/// has given back some of it.
#define BEGIN_RUN(WHICH, START)                                                                                        \
  " next AS (SELECT j.id, j.project_id, " START " AS start_tag, greatest(1, j.quoted_tokens - coalesce(j.state_tokens, 0)) AS tokens," \
  "  coalesce((SELECT q.share_weight FROM project_quota q WHERE q.project_id = j.project_id), 1) AS weight FROM job j" \
  "  WHERE j.state = 'queued' AND " WHICH " FOR UPDATE SKIP LOCKED),"                                                  \
  " run AS (SELECT *, round(tokens::numeric / weight, 6) AS cost FROM next),"                                          \
  " clock AS (UPDATE share_clock SET tag = greatest(tag, (SELECT start_tag FROM run)) WHERE EXISTS (SELECT FROM run))," \
  " share AS (INSERT INTO project_share (project_id, tag) SELECT project_id, start_tag + cost FROM run"                \
  "  ON CONFLICT (project_id) DO UPDATE SET served_at = clock_timestamp(),"                                            \
  "   tag = greatest(project_share.tag, (SELECT start_tag FROM run)) + (SELECT cost FROM run))"                        \
  " UPDATE job SET state = 'running', worker = $1, lease_epoch = lease_epoch + 1,"                                     \
  " lease_until = clock_timestamp() + make_interval(secs => $2::double precision), claimed_at = clock_timestamp(),"    \
  " started_at = coalesce(started_at, clock_timestamp()), step = coalesce(state_step, 0), trained_tokens = state_tokens," \
  " estimated_finish = NULL, share_tokens = run.tokens, share_cost = run.cost FROM run WHERE job.id = run.id RETURNING "

/// Looks and begins at once, where kLock has the lock: a message each less while nobody else may claim.
const std::string kBeginNext = std::string(TURNS " LIMIT 1)," BEGIN_RUN(
    "j.id = (SELECT id FROM turn) AND current_setting('finetuned.claims', true) = 'on'", "(SELECT start_tag FROM turn)")) + kJobColumns;
#undef TURNS
/// $3 which, $4 start tag. The project's first job, unless somebody changes it at this moment: then the next one.
const std::string kBeginFirst = std::string("WITH" BEGIN_RUN("j.id = $3", "$4::numeric")) + kJobColumns;
const std::string kBeginAnother =
    std::string("WITH" BEGIN_RUN("j.project_id = $3 ORDER BY j.turn_at, j.seq LIMIT 1", "$4::numeric")) + kJobColumns;
#undef BEGIN_RUN

}  // namespace

bool FairShare::lock() {
  tx_.execute_later(kByIndexAlone, {});
  return !tx_.execute(kLock, {std::to_string(kClaimSeconds) + "s"}).empty();
}

std::optional<Job> FairShare::begin_next(const std::string& worker, std::int64_t lease_seconds) {
  tx_.execute_later(kByIndexAlone, {});
  tx_.execute_later(kLock, {std::to_string(kClaimSeconds) + "s"});
  const auto rows = tx_.execute(kBeginNext, {worker, lease_seconds});
  if (rows.empty()) return std::nullopt;
  return read_job_row(rows.row(0));
}

std::vector<FairShare::Turn> FairShare::turns() {
  tx_.execute_later(kByIndexAlone, {});
  const auto rows = tx_.execute(kTurns);
  std::vector<Turn> turns;
  for (std::size_t i = 0; i < rows.size(); ++i)
    turns.push_back({rows.row(i).text("project_id"), rows.row(i).text("id"), rows.row(i).text("start_tag")});
  return turns;
}

std::optional<Job> FairShare::begin_run(const Turn& turn, const std::string& worker, std::int64_t lease_seconds) {
  auto rows = tx_.execute(kBeginFirst, {worker, lease_seconds, turn.job_id, turn.start_tag});
  if (rows.empty()) rows = tx_.execute(kBeginAnother, {worker, lease_seconds, turn.project_id, turn.start_tag});
  if (rows.empty()) return std::nullopt;
  return read_job_row(rows.row(0));
}

}  // namespace finetuned::storage
