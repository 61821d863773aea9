#include "storage/inference_usage_store.h"

namespace finetuned::storage {

namespace {

constexpr char kSums[] =
    "SELECT floor(extract(epoch FROM u.created_at) / $4::bigint)::bigint * $4::bigint AS bucket,"
    " CASE WHEN $8::boolean THEN u.project_id END AS project_id, CASE WHEN $9::boolean THEN u.api_key_id END AS api_key_id,"
    " CASE WHEN $10::boolean THEN u.model END AS model, sum(u.prompt_tokens)::bigint AS prompt_tokens,"
    " sum(u.completion_tokens)::bigint AS completion_tokens, count(*) AS requests"
    " FROM inference_usage u JOIN project p ON p.id = u.project_id"
    " WHERE p.organization_id = $1 AND u.created_at >= to_timestamp($2::bigint) AND u.created_at < to_timestamp($3::bigint)"
    " AND ($5::text[] = '{}' OR u.project_id = ANY ($5::text[]))"
    " AND ($6::text[] = '{}' OR u.api_key_id = ANY ($6::text[]))"
    " AND ($7::text[] = '{}' OR u.model = ANY ($7::text[]))"
    " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT $11::bigint";

UsageSum read_sum(const postgres::Row& row) {
  return {.bucket = row.integer("bucket"),
          .project_id = row.maybe_text("project_id"),
          .api_key_id = row.maybe_text("api_key_id"),
          .model = row.maybe_text("model"),
          .prompt_tokens = row.integer("prompt_tokens"),
          .completion_tokens = row.integer("completion_tokens"),
          .requests = row.integer("requests")};
}

}  // namespace

bool InferenceUsageStore::add(const InferenceUsage& usage) {
  return tx_.execute(
                "INSERT INTO inference_usage (request_id, project_id, api_key_id, model, prompt_tokens, completion_tokens, whole,"
                " base_model, transfer_id, input_price_version, output_price_version, input_amount, output_amount, waived)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::uuid, $10, $11, $12, $13, $14) ON CONFLICT (request_id) DO NOTHING",
                {usage.request_id, usage.project_id, usage.api_key_id, usage.model, usage.prompt_tokens, usage.completion_tokens,
                 usage.whole, usage.base_model, usage.transfer_id, usage.input_price_version, usage.output_price_version,
                 usage.input_nano, usage.output_nano, usage.waived})
             .affected_rows() == 1;
}

std::vector<UsageSum> InferenceUsageStore::sums(const std::string& organization_id, const UsageQuery& query) {
  using postgres::Value;
  const auto rows = tx_.execute(
      kSums, {organization_id, query.start, query.end, query.bucket_seconds, Value::texts(query.project_ids),
              Value::texts(query.api_key_ids), Value::texts(query.models), query.by_project, query.by_api_key,
              query.by_model, query.most_sums});
  std::vector<UsageSum> sums;
  for (std::size_t i = 0; i < rows.size(); ++i) sums.push_back(read_sum(rows.row(i)));
  return sums;
}

}  // namespace finetuned::storage
