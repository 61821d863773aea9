#include "billing/costs.h"

namespace finetuned::billing {

namespace {

constexpr char kCosts[] =
    "SELECT floor(extract(epoch FROM t.created_at) / 86400)::bigint * 86400 AS day,"
    " CASE WHEN $5::boolean THEN t.project_id END AS project_id,"
    " CASE WHEN $6::boolean THEN 'fine-tuning training, ' || j.base_model END AS line_item,"
    " coalesce(sum(t.amount) FILTER (WHERE t.ledger = 'USD_NANO' AND d.kind = 'prepaid'), 0)::text AS nano,"
    " coalesce(sum(t.amount) FILTER (WHERE t.ledger = 'POINTS_MICRO'), 0)::text AS points, coalesce(sum(u.tokens_cum), 0)::text AS tokens"
    " FROM project p JOIN transfer t ON t.project_id = p.id JOIN account d ON d.id = t.debit_id"
    " JOIN transfer hold ON hold.id = t.pending_id JOIN job j ON j.id = hold.job_id"
    " LEFT JOIN LATERAL (SELECT max(tokens_cum) AS tokens_cum FROM usage WHERE job_id = j.id AND metric = 'trained_tokens'"
    "  AND t.ledger = 'USD_NANO' AND NOT EXISTS (SELECT FROM transfer r WHERE r.job_id = j.id AND r.ledger = 'USD_NANO'"  // once
    "   AND r.kind = 'post' AND r.seq < t.seq)) u ON true"
    " WHERE p.organization_id = $1 AND t.kind = 'post'"
    " AND t.created_at >= to_timestamp($2::bigint) AND t.created_at < to_timestamp($3::bigint)"
    " AND ($4::text[] = '{}' OR t.project_id = ANY ($4::text[]))"
    " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT $7::bigint";

}  // namespace

std::vector<CostSum> costs(postgres::Transaction& tx, const std::string& organization_id, const CostQuery& query) {
  const auto rows =
      tx.execute(kCosts, {organization_id, query.start, query.end, postgres::Value::texts(query.project_ids),
                          query.by_project, query.by_line_item, query.most_sums});
  std::vector<CostSum> sums;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    sums.push_back({.day = row.integer("day"),
                    .project_id = row.maybe_text("project_id"),
                    .line_item = row.maybe_text("line_item"),
                    .nano = row.text("nano"),
                    .points = row.text("points"),
                    .tokens = row.text("tokens")});
  }
  return sums;
}

}  // namespace finetuned::billing
