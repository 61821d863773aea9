#include "storage/preemption.h"

namespace finetuned::storage {

namespace {

/// $1: seconds of waiting. The tags of the projects that are kept waiting, those whose turn comes first in front.
constexpr char kKeptWaiting[] =
    "SELECT coalesce(s.tag, 0)::double precision AS tag"
    " FROM (SELECT project_id, min(queued_at) AS since FROM job WHERE state = 'queued' GROUP BY project_id) AS w"
    " CROSS JOIN share_clock c LEFT JOIN project_share s ON s.project_id = w.project_id"
    " LEFT JOIN project_quota q ON q.project_id = w.project_id"
    " WHERE (q.running_jobs IS NULL OR q.running_jobs > 0)"
    " AND NOT EXISTS (SELECT FROM job r WHERE r.state = 'running' AND r.project_id = w.project_id)"
    " AND greatest(w.since, s.served_at) <= clock_timestamp() - make_interval(secs => $1::double precision)"
    " ORDER BY greatest(s.tag, c.tag), tag";

/// $1: seconds of waiting, $2: of peace after a preemption. Each project's job that would make room, the project that
/// has most workers by its weight in front; `had`: the project's tag, had its runs ended now.
constexpr char kCandidates[] =
    "WITH running AS (SELECT j.*, (s.tag - coalesce(sum(j.share_cost * (1 - least(1,"
    "   greatest(0, coalesce(j.trained_tokens, 0) - (j.quoted_tokens - j.share_tokens))::numeric / j.share_tokens)))"
    "   OVER (PARTITION BY j.project_id), 0))::double precision AS had,"
    "   count(*) OVER (PARTITION BY j.project_id)::double precision / coalesce(q.share_weight, 1) AS workers"
    "  FROM job j JOIN project_share s ON s.project_id = j.project_id LEFT JOIN project_quota q ON q.project_id = j.project_id"
    "  WHERE j.state = 'running'),"
    " last AS (SELECT DISTINCT ON (project_id) id, had, workers FROM running WHERE preempt_requested_at IS NULL"
    "  AND cancel_requested_at IS NULL AND pause_requested_at IS NULL"
    "  AND claimed_at <= clock_timestamp() - make_interval(secs => $1::double precision)"
    "  AND (preempted_at IS NULL OR preempted_at <= clock_timestamp() - make_interval(secs => $2::double precision))"
    "  AND (estimated_finish IS NULL OR estimated_finish > clock_timestamp() + make_interval(secs => $1::double precision))"
    "  ORDER BY project_id, turn_at DESC, seq DESC)"
    " SELECT id, had FROM last ORDER BY workers DESC, had DESC";

constexpr char kAsked[] = "SELECT count(*) AS jobs FROM job WHERE state = 'running' AND preempt_requested_at IS NOT NULL";
constexpr char kAsk[] =
    "UPDATE job SET preempt_requested_at = clock_timestamp() WHERE id = $1 AND state = 'running'"
    " AND preempt_requested_at IS NULL";

}  // namespace

std::vector<std::string> request_preemptions(postgres::Transaction& tx, const PreemptionRule& rule) {
  std::vector<std::string> jobs;
  const auto waiting = tx.execute(kKeptWaiting, {rule.after_seconds});
  if (waiting.empty()) return jobs;
  const auto making_room = static_cast<std::size_t>(tx.execute(kAsked).row(0).integer("jobs"));
  if (making_room >= waiting.size()) return jobs;
  const auto candidates = tx.execute(kCandidates, {rule.after_seconds, rule.pause_seconds});
  std::size_t next = making_room;
  for (std::size_t i = 0; i < candidates.size() && next < waiting.size(); ++i) {
    if (candidates.row(i).real("had") <= waiting.row(next).real("tag")) continue;
    const std::string id = candidates.row(i).text("id");
    if (tx.execute(kAsk, {id}).affected_rows() == 0) continue;
    jobs.push_back(id);
    ++next;
  }
  return jobs;
}

}  // namespace finetuned::storage
