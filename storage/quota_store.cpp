#include "storage/quota_store.h"

#include "storage/file_store.h"

namespace finetuned::storage {

namespace {

const std::string kSelect =
    "SELECT queued_jobs, running_jobs, storage_bytes, tokens_per_month, upload_bytes_per_day, share_weight FROM project_quota"
    " WHERE project_id = $1";

constexpr char kUsed[] =
    "WITH month AS (SELECT date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') AS start)"
    " SELECT count(*) FILTER (WHERE state IN ('validating_files', 'queued', 'paused')) AS queued,"
    " count(*) FILTER (WHERE state = 'running') AS running,"
    " coalesce(sum(CASE WHEN settled_at IS NULL THEN quoted_tokens ELSE least(coalesce(trained_tokens, 0), standing_tokens) END), 0)::bigint"
    "  + (SELECT coalesce(sum(prompt_tokens + completion_tokens), 0)::bigint FROM inference_usage WHERE project_id = $1"
    "   AND transfer_id IS NOT NULL AND created_at >= (SELECT start AT TIME ZONE 'UTC' FROM month))"
    "  + (SELECT coalesce(sum(most_tokens), 0)::bigint FROM inference_hold WHERE project_id = $1) AS tokens,"
    " (SELECT coalesce(sum(bytes), 0)::bigint FROM file WHERE project_id = $1 AND purpose <> 'fine-tune-results'"
    "  AND created_at >= date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') AS uploaded,"
    " extract(epoch FROM (date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC') + interval '1 day') AT TIME ZONE 'UTC')::bigint AS day_ends,"
    " (SELECT extract(epoch FROM (start + interval '1 month') AT TIME ZONE 'UTC')::bigint FROM month) AS month_ends"
    " FROM job WHERE project_id = $1 AND (finished_at IS NULL OR settled_at IS NULL"
    "  OR finished_at >= (SELECT start AT TIME ZONE 'UTC' FROM month))";

Quotas read_quotas(const postgres::Result& rows) {
  if (rows.empty()) return {};
  const auto row = rows.row(0);
  return {row.maybe_integer("queued_jobs"), row.maybe_integer("running_jobs"), row.maybe_integer("storage_bytes"),
          row.maybe_integer("tokens_per_month"), row.integer("share_weight"), row.maybe_integer("upload_bytes_per_day")};
}

}  // namespace

Quotas QuotaStore::get(const std::string& project_id) { return read_quotas(tx_.execute(kSelect, {project_id})); }

Quotas QuotaStore::lock(const std::string& project_id) {
  return read_quotas(tx_.execute_once(kSelect + " FOR NO KEY UPDATE", {project_id}));
}

QuotaUse QuotaStore::used(const std::string& project_id) {
  const std::int64_t bytes = FileStore(tx_).total_bytes(project_id);
  const auto rows = tx_.execute(kUsed, {project_id});
  const auto row = rows.row(0);
  return {row.integer("queued"), row.integer("running"), bytes, row.integer("tokens"),
          row.integer("uploaded"), row.integer("day_ends"), row.integer("month_ends")};
}

void QuotaStore::put(const std::string& project_id, const Quotas& quotas) {
  tx_.execute(
      "INSERT INTO project_quota (project_id, queued_jobs, running_jobs, storage_bytes, tokens_per_month, share_weight,"
      " upload_bytes_per_day) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project_id) DO UPDATE SET"
      " queued_jobs = excluded.queued_jobs, running_jobs = excluded.running_jobs, storage_bytes = excluded.storage_bytes,"
      " tokens_per_month = excluded.tokens_per_month, share_weight = excluded.share_weight,"
      " upload_bytes_per_day = excluded.upload_bytes_per_day, updated_at = clock_timestamp()",
      {project_id, quotas.queued_jobs, quotas.running_jobs, quotas.storage_bytes, quotas.tokens_per_month,
       quotas.share_weight, quotas.upload_bytes_per_day});
}

}  // namespace finetuned::storage
