#include "storage/worker_store.h"

namespace finetuned::storage {

void WorkerStore::seen(const WorkerIdentity& worker) {
  tx_.execute(
      "INSERT INTO worker (name, device, known_as, engine) VALUES ($1, $2, nullif($3, ''), nullif($4, ''))"
      " ON CONFLICT (name) DO UPDATE SET device = excluded.device, known_as = excluded.known_as, engine = excluded.engine,"
      " seen_at = clock_timestamp() WHERE worker.seen_at < clock_timestamp() - interval '5 seconds'"
      " OR (worker.device, worker.known_as, worker.engine) IS DISTINCT FROM (excluded.device, excluded.known_as, excluded.engine)",
      {worker.name, worker.device, worker.known_as, worker.engine});
}

void WorkerStore::gone(const std::string& name) { tx_.execute("DELETE FROM worker WHERE name = $1", {name}); }

std::vector<WorkerRow> WorkerStore::list() {
  const auto rows = tx_.execute(
      "WITH seen AS (SELECT w.*, d.withdrawn_at IS NULL AND d.stopped_at IS NULL AS wanted, CASE WHEN d.name IS NOT NULL THEN 'donated'"
      "  WHEN w.known_as IS NULL OR w.known_as IN (SELECT name FROM own_worker) OR NOT EXISTS (SELECT FROM donated_worker) THEN 'own'"
      "  ELSE 'unknown' END AS whose FROM worker w LEFT JOIN donated_worker d ON d.name = w.known_as)"
      "SELECT w.name, w.device, w.known_as, w.whose, w.wanted AND w.whose <> 'unknown' AS gets_jobs,"
      " extract(epoch FROM w.started_at)::bigint AS started_at,"
      " extract(epoch FROM w.seen_at)::bigint AS seen_at, j.id AS job_id, j.id IS NOT NULL"
      "  OR w.seen_at > clock_timestamp() - make_interval(secs => $1) AS alive"
      " FROM seen w LEFT JOIN job j ON j.state = 'running' AND j.worker = w.name AND j.lease_until > clock_timestamp()"
      " ORDER BY w.name",
      {kAliveSeconds});
  std::vector<WorkerRow> workers;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    workers.push_back({row.text("name"), row.text("device"), row.maybe_text("known_as"), row.text("whose"), row.boolean("gets_jobs"),
                       row.integer("started_at"), row.integer("seen_at"), row.boolean("alive"), row.maybe_text("job_id")});
  }
  return workers;
}

void WorkerStore::forget_dead() {
  tx_.execute("DELETE FROM worker w WHERE w.seen_at < clock_timestamp() - interval '1 day'"
              " AND NOT EXISTS (SELECT FROM job j WHERE j.state = 'running' AND j.worker = w.name)");
}

}  // namespace finetuned::storage
