#include "storage/quota_store.h"

namespace finetuned::storage {

Quotas QuotaStore::get(const std::string& project_id) {
  const auto rows = tx_.execute(
      "SELECT queued_jobs, running_jobs, storage_bytes, tokens_per_month, share_weight FROM project_quota"
      " WHERE project_id = $1",
      {project_id});
  if (rows.empty()) return {};
  const auto row = rows.row(0);
  return {row.maybe_integer("queued_jobs"), row.maybe_integer("running_jobs"), row.maybe_integer("storage_bytes"),
          row.maybe_integer("tokens_per_month"), row.integer("share_weight")};
}

void QuotaStore::put(const std::string& project_id, const Quotas& quotas) {
  tx_.execute(
      "INSERT INTO project_quota (project_id, queued_jobs, running_jobs, storage_bytes, tokens_per_month, share_weight)"
      " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (project_id) DO UPDATE SET queued_jobs = excluded.queued_jobs,"
      " running_jobs = excluded.running_jobs, storage_bytes = excluded.storage_bytes,"
      " tokens_per_month = excluded.tokens_per_month, share_weight = excluded.share_weight,"
      " updated_at = clock_timestamp()",
      {project_id, quotas.queued_jobs, quotas.running_jobs, quotas.storage_bytes, quotas.tokens_per_month,
       quotas.share_weight});
}

}  // namespace finetuned::storage
