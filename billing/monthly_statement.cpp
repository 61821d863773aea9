#include "billing/monthly_statement.h"

#include "base/clock.h"
#include "base/errors.h"
#include "billing/csv.h"

namespace finetuned::billing {

namespace {

// Rows of one account are few beside the ledger's, and come by the project's index.
constexpr char kBalance[] =
    "SELECT coalesce(sum(CASE WHEN t.credit_id = a.id THEN t.amount ELSE -t.amount END), 0)::bigint AS balance"
    " FROM account a JOIN transfer t ON t.project_id = a.project_id AND a.id IN (t.debit_id, t.credit_id)"
    " WHERE a.project_id = $1 AND a.ledger = $2 AND a.kind = 'prepaid' AND t.kind IN ('single', 'post', 'correction')"
    " AND t.created_at < to_timestamp($3::bigint)";
constexpr char kHeld[] =
    "SELECT coalesce(sum(t.amount), 0)::bigint AS held FROM transfer t JOIN account a ON a.id = t.debit_id AND a.kind = 'prepaid'"
    " WHERE t.project_id = $1 AND t.ledger = $2"
    " AND t.kind = 'pending' AND t.created_at < to_timestamp($3::bigint) AND NOT EXISTS (SELECT FROM transfer r"
    "  WHERE r.pending_id = t.id AND r.kind IN ('post', 'void', 'expire') AND r.created_at < to_timestamp($3::bigint))";
// Answers are many: those of a day (UTC) and model are one line, at its last one.
constexpr char kLines[] =
    "SELECT floor(extract(epoch FROM at))::bigint AS created_at, * FROM (SELECT t.created_at AS at, t.seq, t.kind, t.id, t.corrects_id,"
    "  t.job_id, j.base_model, CASE WHEN t.kind = 'post' THEN j.trained_tokens END AS tokens,"
    "  CASE WHEN t.credit_id = a.id THEN t.amount ELSE -t.amount END AS amount, t.reason"
    "  FROM account a JOIN transfer t ON t.project_id = a.project_id AND a.id IN (t.debit_id, t.credit_id)"
    "  LEFT JOIN job j ON j.id = t.job_id"
    "  WHERE a.project_id = $1 AND a.ledger = $2 AND a.kind = 'prepaid' AND t.kind IN ('single', 'post', 'correction')"
    "  AND NOT (t.kind = 'post' AND t.job_id IS NULL)"
    "  AND t.created_at >= to_timestamp($3::bigint) AND t.created_at < to_timestamp($4::bigint)"
    " UNION ALL SELECT max(t.created_at), max(t.seq), 'post', NULL, NULL, NULL, u.base_model,"
    "  sum(u.prompt_tokens + u.completion_tokens)::bigint, -sum(t.amount)::bigint,"
    "  sum(u.prompt_tokens) || ' input and ' || sum(u.completion_tokens) || ' output tokens of ' || count(*) || ' answers of '"
    "  || u.base_model"
    "  FROM account a JOIN transfer t ON t.project_id = a.project_id AND t.debit_id = a.id"
    "  JOIN inference_usage u ON u.transfer_id = t.pending_id"
    "  WHERE a.project_id = $1 AND a.ledger = $2 AND a.kind = 'prepaid' AND t.kind = 'post' AND t.job_id IS NULL"
    "  AND t.created_at >= to_timestamp($3::bigint) AND t.created_at < to_timestamp($4::bigint)"
    "  GROUP BY floor(extract(epoch FROM t.created_at) / 86400), u.base_model) line ORDER BY at, seq";

/// The month's first second, and the next one's.
std::pair<std::int64_t, std::int64_t> bounds_of(const std::string& month) {
  int year = 0, number = 0, read = 0;
  if (month.size() != 7 || std::sscanf(month.c_str(), "%4d-%2d%n", &year, &number, &read) != 2 || read != 7 || number < 1 ||
      number > 12 || year < 1970)
    throw base::UsageError("'" + month + "' is no month: write YYYY-MM, such as 2026-11");
  using namespace std::chrono;
  const year_month first = std::chrono::year(year) / std::chrono::month(static_cast<unsigned>(number));
  const auto start = [](year_month of) { return sys_days(of / 1).time_since_epoch() / seconds(1); };
  return {start(first), start(first + months(1))};
}

}  // namespace

MonthlyStatement monthly_statement(postgres::Transaction& tx, LedgerName ledger, const std::string& project_id,
                                   const std::string& month) {
  const auto [start, end] = bounds_of(month);
  const std::string name = to_string(ledger);
  MonthlyStatement statement;
  statement.month = month;
  statement.opening = {tx.execute(kBalance, {project_id, name, start}).row(0).integer("balance")};
  statement.held = {tx.execute(kHeld, {project_id, name, end}).row(0).integer("held")};
  statement.closing = statement.opening;
  const auto rows = tx.execute(kLines, {project_id, name, start, end});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    statement.lines.push_back({.created_at = row.integer("created_at"),
                               .kind = kind_named(row.text("kind")),
                               .transfer_id = row.maybe_text("id"),
                               .corrects_id = row.maybe_text("corrects_id"),
                               .job_id = row.maybe_text("job_id"),
                               .model = row.maybe_text("base_model"),
                               .tokens = row.maybe_integer("tokens"),
                               .amount = {row.integer("amount")},
                               .reason = row.text("reason")});
    statement.closing.value += statement.lines.back().amount.value;
  }
  return statement;
}

std::string to_csv(const MonthlyStatement& statement) {
  std::string text =
      csv_row({"created_at", "kind", "transfer_id", "corrects_id", "job_id", "model", "tokens", "amount", "balance", "reason"});
  Amount balance = statement.opening;
  for (const StatementLine& line : statement.lines) {
    balance.value += line.amount.value;
    text += csv_row({base::iso8601_utc(std::chrono::system_clock::from_time_t(line.created_at)), to_string(line.kind),
                     line.transfer_id.value_or(""), line.corrects_id.value_or(""), line.job_id.value_or(""), line.model.value_or(""),
                     line.tokens ? std::to_string(*line.tokens) : "", std::to_string(line.amount.value),
                     std::to_string(balance.value), line.reason});
  }
  return text;
}

}  // namespace finetuned::billing
