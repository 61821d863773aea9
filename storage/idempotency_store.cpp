#include "storage/idempotency_store.h"

namespace finetuned::storage {

bool IdempotencyStore::try_lock(const std::string& project_id, const std::string& key) {
  return tx_
      .execute("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS taken", {project_id + " " + key})
      .row(0)
      .boolean("taken");
}

std::optional<IdempotencyStore::Earlier> IdempotencyStore::find(const std::string& project_id, const std::string& key,
                                                                std::int64_t age_seconds) {
  const auto rows = tx_.execute(
      "SELECT body_sha256, job_id FROM idempotent_request WHERE project_id = $1 AND key = $2"
      " AND created_at > clock_timestamp() - make_interval(secs => $3::double precision)",
      {project_id, key, age_seconds});
  if (rows.empty()) return std::nullopt;
  return Earlier{rows.row(0).text("body_sha256"), rows.row(0).text("job_id")};
}

void IdempotencyStore::remember(const std::string& project_id, const std::string& key, const Earlier& request) {
  tx_.execute("DELETE FROM idempotent_request WHERE project_id = $1 AND created_at < clock_timestamp() - interval '24 hours'",
              {project_id});
  tx_.execute(
      "INSERT INTO idempotent_request (project_id, key, body_sha256, job_id) VALUES ($1, $2, $3, $4)"
      " ON CONFLICT (project_id, key) DO UPDATE SET body_sha256 = $3, job_id = $4, created_at = clock_timestamp()",
      {project_id, key, request.body_sha256, request.job_id});
}

}  // namespace finetuned::storage
