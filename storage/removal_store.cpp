#include "storage/removal_store.h"

namespace finetuned::storage {

void RemovalStore::add(const std::string& project_id, const std::string& object_id, std::int64_t seconds) {
  tx_.execute(
      "INSERT INTO object_removal (object_id, project_id, due_at)"
      " SELECT $1, $2, clock_timestamp() + make_interval(secs => $3::double precision)"
      " WHERE NOT EXISTS (SELECT FROM donated_evidence WHERE object_id = $1)"
      " AND NOT EXISTS (SELECT FROM donated_stretch WHERE first_object = $1 AND decided_at IS NULL)"
      " ON CONFLICT (object_id) DO UPDATE SET due_at = excluded.due_at",
      {object_id, project_id, seconds});
}

bool RemovalStore::keep(const std::string& object_id) {
  return tx_.execute("DELETE FROM object_removal WHERE object_id = $1", {object_id}).affected_rows() == 1;
}

void RemovalStore::hold() { tx_.execute("SELECT pg_advisory_xact_lock(hashtextextended('object removal', 0))"); }

bool RemovalStore::may_remove() {
  return tx_.execute("SELECT pg_try_advisory_xact_lock_shared(hashtextextended('object removal', 0)) AS may").row(0).boolean("may");
}

std::vector<std::string> RemovalStore::take_due(int most) {
  const auto rows = tx_.execute(
      "SELECT object_id FROM object_removal WHERE due_at <= clock_timestamp()"
      " ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED",
      {most});
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < rows.size(); ++i) ids.push_back(rows.row(i).text("object_id"));
  return ids;
}

void RemovalStore::removed(const std::vector<std::string>& object_ids) {
  tx_.execute("DELETE FROM object_removal WHERE object_id = ANY($1::text[])", {postgres::Value::texts(object_ids)});
}

void RemovalStore::postpone(const std::vector<std::string>& object_ids, std::int64_t seconds) {
  tx_.execute(
      "UPDATE object_removal SET due_at = clock_timestamp() + make_interval(secs => $2::double precision)"
      " WHERE object_id = ANY($1::text[])",
      {postgres::Value::texts(object_ids), seconds});
}

}  // namespace finetuned::storage
