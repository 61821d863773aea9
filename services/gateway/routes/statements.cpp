#include <boost/json/serialize.hpp>
#include <charconv>

#include "base/errors.h"
#include "base/ids.h"
#include "billing/csv.h"
#include "billing/job_statement.h"
#include "billing/monthly_statement.h"
#include "services/gateway/billing_shapes.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "storage/job_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using billing::JobStatement;
using billing::JobStatementRow;
using postgres::Scope;
using postgres::Transaction;

namespace {

constexpr std::int64_t kDefaultSteps = 100, kMostSteps = 1'000;

/// Amounts travel as strings: a JavaScript number ends at 9 million dollars' nano-dollars.
std::string nano(billing::Amount amount) {
  return std::to_string(amount.value);
}

std::int64_t integer_in(const Request& request, const char* name, std::int64_t otherwise, std::int64_t least,
                        std::int64_t most) {
  const auto text = request.query_value(name);
  if (!text || text->empty()) return otherwise;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc() || end != text->data() + text->size() || number < least || number > most)
    throw base::bad_request(
        "invalid_value",
        std::string(name) + " must be an integer from " + std::to_string(least) + " to " + std::to_string(most) + ".", name);
  return number;
}

bool wants_csv(const Request& request) {
  const auto format = request.query_value("format").value_or("json");
  if (format != "json" && format != "csv") throw base::bad_request("invalid_value", "format must be json or csv.", "format");
  return format == "csv";
}

StringPairs csv_headers(const std::string& filename) {
  return {{"content-type", "text/csv; charset=utf-8"}, {"content-disposition", "attachment; filename=\"" + filename + "\""}};
}

/// What pays a row: the post, or while the job goes on the hold.
std::optional<std::string> payer(const JobStatement& statement) {
  return statement.transfer_id ? statement.transfer_id : statement.hold_id;
}

json::object row_shape(const JobStatementRow& row, const std::optional<std::string>& transfer) {
  json::object shape;
  shape["object"] = "fine_tuning.job.statement.row";
  shape["first_step"] = row.first_step;
  shape["step"] = row.step;
  shape["tokens"] = row.tokens;
  shape["trained_tokens"] = row.trained_tokens;
  shape["amount"] = nano(row.amount);
  shape["checkpoint_id"] = or_null(row.checkpoint_id);
  shape["transfer_id"] = or_null(transfer);
  return shape;
}

json::object statement_shape(const storage::Job& job, const JobStatement& statement) {
  json::object shape;
  shape["object"] = "fine_tuning.job.statement";
  shape["fine_tuning_job_id"] = job.id;
  shape["status"] = to_string(job.state);
  shape["final"] = job.settled;
  shape["ledger"] = billing::to_string(billing::LedgerName::kUsdNano);
  shape["price_per_1k_tokens"] = std::to_string(statement.nano_per_1k);
  shape["held"] = nano(statement.held);
  shape["trained_tokens"] = statement.billed_tokens;
  shape["amount"] = nano(statement.amount);
  shape["returned"] = job.settled ? json::value(nano({statement.held.value - statement.amount.value})) : json::value(nullptr);
  shape["given_back"] = nano(statement.given_back);
  shape["payment"] = to_string(job.payment);
  shape["held_dollars"] = nano(statement.held_as.dollars);
  shape["held_points"] = nano(statement.held_as.points);
  shape["charged_dollars"] = job.settled ? json::value(nano(statement.paid_as.dollars)) : json::value(nullptr);
  shape["charged_points"] = job.settled ? json::value(nano(statement.paid_as.points)) : json::value(nullptr);
  shape["waived"] = statement.waived;
  shape["hold_id"] = or_null(statement.hold_id);
  shape["transfer_id"] = or_null(statement.transfer_id);
  return shape;
}

/// All rows of a statement, page by page.
class StatementCsv final : public LiveBody {
 public:
  StatementCsv(const Platform& platform, storage::Job job, std::optional<std::string> transfer)
      : platform_(platform), job_(std::move(job)), transfer_(std::move(transfer)) {}

  std::optional<std::string> read() override {
    if (ended_) return std::nullopt;
    std::string text;
    if (after_ == 0)
      text = billing::csv_row({"first_step", "step", "tokens", "trained_tokens", "amount", "checkpoint_id", "transfer_id"});
    const auto rows = platform_.database.transact(Scope::project(job_.project_id), [&](Transaction& tx) {
      return billing::job_statement_rows(tx, job_, after_, kMostSteps);
    });
    for (const JobStatementRow& row : rows)
      text += billing::csv_row({std::to_string(row.first_step), std::to_string(row.step), std::to_string(row.tokens),
                                std::to_string(row.trained_tokens), nano(row.amount), row.checkpoint_id.value_or(""),
                                transfer_.value_or("")});
    ended_ = rows.size() < static_cast<std::size_t>(kMostSteps);
    if (!rows.empty()) after_ = rows.back().step;
    return text;
  }
  Wait wait() const override { return {.at_most = std::chrono::milliseconds(0)}; }

 private:
  const Platform& platform_;
  const storage::Job job_;
  const std::optional<std::string> transfer_;
  std::int64_t after_ = 0;
  bool ended_ = false;
};

Response job_statement(const Platform& platform, const Request& request) {
  const std::string& id = request.params.at(0);
  const bool csv = wants_csv(request);
  const std::int64_t after = integer_in(request, "after", 0, 0, std::int64_t{1} << 53);
  const std::int64_t limit = integer_in(request, "limit", kDefaultSteps, 1, kMostSteps);
  std::optional<storage::Job> job;
  JobStatement statement;
  std::vector<JobStatementRow> rows;
  const auto read = [&](Transaction& tx) {
    job = base::is_id(id, "ftjob") ? storage::JobStore(tx).find(id) : std::nullopt;
    if (!job) throw no_such_job(id);
    statement = billing::job_statement(tx, *job);
    if (!csv) rows = billing::job_statement_rows(tx, *job, after, static_cast<int>(limit) + 1);
    return true;
  };
  platform.database.snapshot(Scope::project(request.principal.project_id), read);
  if (csv) {
    Response response;
    response.headers = csv_headers(id + ".csv");
    response.live = std::make_unique<StatementCsv>(platform, *job, payer(statement));
    return response;
  }
  const bool more = rows.size() > static_cast<std::size_t>(limit);
  if (more) rows.pop_back();
  json::object shape = statement_shape(*job, statement);
  json::array data;
  for (const JobStatementRow& row : rows)
    data.push_back(row_shape(row, payer(statement)));
  shape["data"] = std::move(data);
  shape["has_more"] = more;
  shape["last_step"] = rows.empty() ? json::value(nullptr) : json::value(rows.back().step);
  return json_response(shape);
}

json::object line_shape(const billing::StatementLine& line) {
  json::object shape;
  shape["object"] = "billing.statement.line";
  shape["created_at"] = line.created_at;
  shape["kind"] = to_string(line.kind);
  shape["transfer_id"] = or_null(line.transfer_id);
  shape["corrects_id"] = or_null(line.corrects_id);
  shape["job_id"] = or_null(line.job_id);
  shape["model"] = or_null(line.model);
  shape["tokens"] = or_null(line.tokens);
  shape["amount"] = nano(line.amount);
  shape["reason"] = line.reason;
  return shape;
}

Response monthly_statement(const Platform& platform, const Request& request) {
  const bool csv = wants_csv(request);
  const std::string month(request.query_value("month").value_or(""));
  const billing::LedgerName ledger = ledger_in(request);
  const std::string& project = request.principal.project_id;
  billing::MonthlyStatement statement;
  try {
    statement = platform.database.snapshot(Scope::project(project), [&](Transaction& tx) {
      return billing::monthly_statement(tx, ledger, project, month);
    });
  } catch (const base::UsageError& error) {
    throw base::bad_request("invalid_value", "month: " + std::string(error.what()) + ".", "month");
  }
  if (csv) {
    Response response;
    response.headers = csv_headers("statement-" + month + ".csv");
    response.body = to_csv(statement);
    return response;
  }
  json::object shape;
  shape["object"] = "billing.statement";
  shape["ledger"] = billing::to_string(ledger);
  shape["month"] = statement.month;
  shape["opening"] = nano(statement.opening);
  shape["closing"] = nano(statement.closing);
  shape["held"] = nano(statement.held);
  json::array data;
  for (const billing::StatementLine& line : statement.lines)
    data.push_back(line_shape(line));
  shape["data"] = std::move(data);
  return json_response(shape);
}

}  // namespace

void add_statement_routes(Router& router, const Platform& platform) {
  router.add("GET", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/statement", Access::kProject,
             [&platform](const Request& request) { return job_statement(platform, request); });
  router.add("GET", "/v1/billing/statement", Access::kProject,
             [&platform](const Request& request) { return monthly_statement(platform, request); });
}

}  // namespace finetuned::gateway
