#include "billing/job_statement.h"

#include <algorithm>

#include "billing/give_back.h"
#include "billing/prices.h"
#include "billing/settlement.h"
#include "billing/usage.h"

namespace finetuned::billing {

namespace {

// The row before the first wanted one comes too, for its tokens: $2 is its step. The tokens of a range whose steps were not kept
// are its last step's.
constexpr char kRows[] =
    "SELECT CASE WHEN u.step_tokens IS NULL THEN lower(u.steps) ELSE s.step END AS first_step, s.step, s.tokens, c.id AS checkpoint_id"
    " FROM usage u CROSS JOIN LATERAL (SELECT lower(u.steps) + place - 1 AS step, tokens"
    "   FROM unnest(u.step_tokens) WITH ORDINALITY AS each (tokens, place)"
    "  UNION ALL SELECT upper(u.steps) - 1, u.tokens_cum WHERE u.step_tokens IS NULL) s"
    " LEFT JOIN LATERAL (SELECT id FROM job_checkpoint WHERE job_id = u.job_id AND step >= upper(u.steps) - 1 AND distrusted_at IS NULL"
    "  ORDER BY step LIMIT 1) c ON true"
    " WHERE u.job_id = $1 AND u.metric = 'trained_tokens' AND u.steps && int8range($2::bigint, $2::bigint + $3::bigint + 1)"
    " AND s.step >= $2 ORDER BY s.step LIMIT $3::bigint + 1";
constexpr char kResolution[] = "SELECT id FROM transfer WHERE pending_id = $1::uuid AND kind IN ('post', 'void', 'expire')";

/// What so many tokens of the job cost.
struct Cost {
  std::int64_t nano_per_1k = 0;
  std::int64_t held = 0;
  bool waived = false;
  std::int64_t of(std::int64_t tokens) const { return waived ? 0 : std::min(base::price_of(tokens, nano_per_1k).value, held); }
};

Cost cost_of(postgres::Transaction& tx, const storage::Job& job) {
  Cost cost{.nano_per_1k = 0, .held = job.quoted_nano.value_or(0), .waived = is_waived(job.error)};
  if (job.price_version) cost.nano_per_1k = price_at_version(tx, *job.price_version).nano_per_1k;
  return cost;
}

}  // namespace

JobStatement job_statement(postgres::Transaction& tx, const storage::Job& job) {
  const Cost cost = cost_of(tx, job);
  JobStatement statement;
  statement.hold_id = job.hold_transfer_id ? job.hold_transfer_id : job.liquidity_hold_id;
  statement.held_as = split_held(tx, job);
  statement.paid_as = split_charged(tx, job);
  statement.given_back = given_back(tx, job.id);
  if (statement.hold_id) {
    const auto rows = tx.execute(kResolution, {*statement.hold_id});
    if (!rows.empty()) statement.transfer_id = rows.row(0).text("id");
  }
  statement.nano_per_1k = cost.nano_per_1k;
  statement.held = {cost.held};
  statement.waived = cost.waived;
  if (cost.waived) return statement;
  const BookedUsage booked = booked_usage(tx, job.id);
  statement.billed_tokens = booked.tokens;
  statement.amount = booked.amount;
  return statement;
}

std::vector<JobStatementRow> job_statement_rows(postgres::Transaction& tx, const storage::Job& job, std::int64_t after,
                                                int limit) {
  const Cost cost = cost_of(tx, job);
  const auto found = tx.execute(kRows, {job.id, after, limit});
  std::vector<JobStatementRow> rows;
  std::int64_t before = 0;
  for (std::size_t i = 0; i < found.size() && rows.size() < static_cast<std::size_t>(limit); ++i) {
    const auto row = found.row(i);
    const std::int64_t tokens = row.integer("tokens");
    if (row.integer("first_step") > after)
      rows.push_back({.first_step = row.integer("first_step"),
                      .step = row.integer("step"),
                      .tokens = tokens - before,
                      .trained_tokens = tokens,
                      .amount = {cost.of(tokens) - cost.of(before)},
                      .checkpoint_id = row.maybe_text("checkpoint_id")});
    before = tokens;
  }
  return rows;
}

}  // namespace finetuned::billing
