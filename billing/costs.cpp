#include "billing/costs.h"

namespace finetuned::billing {

namespace {

// A post of a job is its training's; one of a request is for what went in and what came out, as its usage has it.
constexpr char kCosts[] =
    "SELECT floor(extract(epoch FROM c.created_at) / 86400)::bigint * 86400 AS day,"
    " CASE WHEN $5::boolean THEN c.project_id END AS project_id, CASE WHEN $6::boolean THEN c.line_item END AS line_item,"
    " CASE WHEN $9::boolean THEN c.api_key_id END AS api_key_id,"
    " coalesce(sum(c.nano), 0)::text AS nano, coalesce(sum(c.points), 0)::text AS points, coalesce(sum(c.tokens), 0)::text AS tokens"
    " FROM (SELECT t.created_at, t.project_id, 'fine-tuning training, ' || j.base_model AS line_item, NULL::text AS api_key_id,"
    "  CASE WHEN t.ledger = 'USD_NANO' AND d.kind = 'prepaid' THEN t.amount END AS nano,"
    "  CASE WHEN t.ledger = 'POINTS_MICRO' THEN t.amount END AS points, u.tokens_cum AS tokens"
    "  FROM project p JOIN transfer t ON t.project_id = p.id JOIN account d ON d.id = t.debit_id"
    "  JOIN transfer hold ON hold.id = t.pending_id JOIN job j ON j.id = hold.job_id"
    "  LEFT JOIN LATERAL (SELECT max(tokens_cum) AS tokens_cum FROM usage WHERE job_id = j.id AND metric = 'trained_tokens'"
    "   AND t.ledger = 'USD_NANO' AND NOT EXISTS (SELECT FROM transfer r WHERE r.job_id = j.id AND r.ledger = 'USD_NANO'"  // once
    "    AND r.kind = 'post' AND r.seq < t.seq)) u ON true"
    "  WHERE p.organization_id = $1 AND t.kind = 'post' AND $8::text[] = '{}'"
    "  AND t.created_at >= to_timestamp($2::bigint) AND t.created_at < to_timestamp($3::bigint)"
    " UNION ALL SELECT t.created_at, t.project_id, i.item || u.base_model, u.api_key_id, i.amount, NULL, i.tokens"
    "  FROM project p JOIN transfer t ON t.project_id = p.id JOIN inference_usage u ON u.transfer_id = t.pending_id"
    "  CROSS JOIN LATERAL (VALUES ('inference input, ', u.input_amount, u.prompt_tokens),"
    "   ('inference output, ', u.output_amount, u.completion_tokens)) i (item, amount, tokens)"
    "  WHERE p.organization_id = $1 AND t.kind = 'post' AND ($8::text[] = '{}' OR u.api_key_id = ANY ($8::text[]))"
    "  AND t.created_at >= to_timestamp($2::bigint) AND t.created_at < to_timestamp($3::bigint)) c"
    " WHERE $4::text[] = '{}' OR c.project_id = ANY ($4::text[])"
    " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT $7::bigint";

}  // namespace

std::vector<CostSum> costs(postgres::Transaction& tx, const std::string& organization_id, const CostQuery& query) {
  const auto rows =
      tx.execute(kCosts, {organization_id, query.start, query.end, postgres::Value::texts(query.project_ids),
                          query.by_project, query.by_line_item, query.most_sums, postgres::Value::texts(query.api_key_ids),
                          query.by_api_key});
  std::vector<CostSum> sums;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    sums.push_back({.day = row.integer("day"),
                    .project_id = row.maybe_text("project_id"),
                    .line_item = row.maybe_text("line_item"),
                    .api_key_id = row.maybe_text("api_key_id"),
                    .nano = row.text("nano"),
                    .points = row.text("points"),
                    .tokens = row.text("tokens")});
  }
  return sums;
}

}  // namespace finetuned::billing
