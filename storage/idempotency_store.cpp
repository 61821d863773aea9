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

std::vector<bool> IdempotencyStore::try_lock_all(const std::string& project_id, const std::vector<std::string>& keys) {
  std::vector<std::string> locked;
  for (const std::string& key : keys) locked.push_back(project_id + " " + key);
  const auto rows = tx_.execute(
      "SELECT pg_try_advisory_xact_lock(hashtextextended(key, 0)) AS taken FROM unnest($1::text[]) WITH ORDINALITY AS k(key, place)"
      " ORDER BY place",
      {postgres::Value::texts(locked)});
  std::vector<bool> taken;
  for (std::size_t i = 0; i < rows.size(); ++i) taken.push_back(rows.row(i).boolean("taken"));
  return taken;
}

void IdempotencyStore::forget_old(const std::string& project_id) {
  tx_.execute_later("DELETE FROM idempotent_request WHERE project_id = $1 AND created_at < clock_timestamp() - interval '24 hours'",
                    {project_id});
}

void IdempotencyStore::remember(const std::string& project_id, const std::string& key, const Earlier& request) {
  tx_.execute_later(
      "INSERT INTO idempotent_request (project_id, key, body_sha256, job_id) VALUES ($1, $2, $3, $4)"
      " ON CONFLICT (project_id, key) DO UPDATE SET body_sha256 = $3, job_id = $4, created_at = clock_timestamp()",
      {project_id, key, request.body_sha256, request.job_id});
}

std::optional<IdempotencyStore::EarlierAnswer> IdempotencyStore::find_answer(const AnswerOwner& owner, const std::string& key,
                                                                             std::int64_t age_seconds) {
  const auto rows = tx_.execute(
      "SELECT request_sha256, sealed_answer FROM idempotent_answer WHERE organization_id = $1"
      " AND project_id IS NOT DISTINCT FROM $2::text AND key = $3"
      " AND created_at > clock_timestamp() - make_interval(secs => $4::double precision)",
      {owner.organization_id, owner.project_id, key, age_seconds});
  if (rows.empty()) return std::nullopt;
  return EarlierAnswer{rows.row(0).text("request_sha256"), rows.row(0).bytes("sealed_answer")};
}

void IdempotencyStore::remember_answer(const AnswerOwner& owner, const std::string& key, const EarlierAnswer& answer) {
  tx_.execute(
      "DELETE FROM idempotent_answer WHERE ctid IN (SELECT ctid FROM idempotent_answer"
      " WHERE created_at < clock_timestamp() - interval '24 hours' ORDER BY created_at LIMIT 1000 FOR UPDATE SKIP LOCKED)");
  tx_.execute(
      "INSERT INTO idempotent_answer (organization_id, project_id, key, request_sha256, sealed_answer)"
      " VALUES ($1, $2, $3, $4, $5::bytea) ON CONFLICT (organization_id, project_id, key)"
      " DO UPDATE SET request_sha256 = excluded.request_sha256, sealed_answer = excluded.sealed_answer,"
      " created_at = clock_timestamp()",
      {owner.organization_id, owner.project_id, key, answer.request_sha256, postgres::Value::bytes(answer.sealed_answer)});
}

}  // namespace finetuned::storage
