#include "services/gateway/job_creation.h"

#include "billing/forecast.h"
#include "billing/ledger.h"
#include "billing/points_payment.h"
#include "billing/quote.h"
#include "services/gateway/job_creations.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

namespace {

/// When the job would start and end, were it queued now.
void add_expected(json::object& shape, const Platform& platform, const storage::NewJob& job, std::optional<std::int64_t> tokens) {
  std::optional<billing::Forecast> forecast;
  if (tokens)
    forecast = billing::forecast_new(platform.database.transact(Scope::system(), [&](Transaction& tx) {
      return storage::read_queue(tx, job.project_id);
    }), job.project_id, job.base_model, *tokens, job.priority);
  shape["queue_position"] = forecast ? json::value(forecast->position) : json::value(nullptr);
  shape["expected_start"] = forecast ? or_null(forecast->start) : json::value(nullptr);
  shape["expected_finish"] = forecast ? or_null(forecast->finish) : json::value(nullptr);
}

/// What the same body would cost if it were created now, and when it would run. Creates nothing.
Response quote_job(const Platform& platform, const storage::NewJob& job) {
  json::object shape;
  std::optional<std::int64_t> tokens;
  platform.database.transact(Scope::project(job.project_id), [&](Transaction& tx) {
    const auto quote = billing::make_quote(tx, billing::quote_request_of(tx, job));
    const auto available = billing::Ledger(tx).balance(job.project_id).available;
    const auto points = billing::Ledger(tx, billing::LedgerName::kPointsMicro).balance(job.project_id).available;
    std::optional<billing::PaymentSplit> split;
    if (quote) split = billing::split_price(job.payment, quote->amount, points);
    shape = json::object();
    tokens = quote ? std::optional(quote->tokens) : std::nullopt;
    shape["object"] = "fine_tuning.job.quote";
    shape["model"] = job.model;
    shape["training_file"] = job.training_file;
    shape["ready"] = quote.has_value();  // false: intake is still counting; ask again
    shape["allowed"] = split ? json::value(split->dollars <= available && split->points <= points) : json::value(nullptr);
    shape["rows"] = quote ? json::value(quote->rows) : json::value(nullptr);
    shape["tokens_per_epoch"] = quote ? json::value(quote->tokens_per_epoch) : json::value(nullptr);
    shape["tokens"] = quote ? json::value(quote->tokens) : json::value(nullptr);
    shape["price_nano_per_1k"] = quote ? json::value(std::to_string(quote->price.nano_per_1k)) : json::value(nullptr);
    shape["price_version"] = quote ? json::value(quote->price.version) : json::value(nullptr);
    shape["amount"] = quote ? json::value(std::to_string(quote->amount.value)) : json::value(nullptr);
    shape["available"] = std::to_string(available.value);
    shape["payment"] = to_string(job.payment);
    shape["amount_in_dollars"] = split ? json::value(std::to_string(split->dollars.value)) : json::value(nullptr);
    shape["amount_in_points"] = split ? json::value(std::to_string(split->points.value)) : json::value(nullptr);
    shape["available_points"] = std::to_string(points.value);
    shape["hyperparameters"] = job.hyperparameters;
  });
  add_expected(shape, platform, job, tokens);
  return json_response(shape);
}

}  // namespace

void add_job_creation_routes(Router& router, const Platform& platform) {
  router.add_async("POST", "/v1/fine_tuning/jobs", Access::kProject, [&platform](const Request& request, Answered answered) {
    platform.job_creations.create(request, std::move(answered));
  });
  router.add_async("POST", "/v1/fine_tuning/jobs/quote", Access::kProject, [&platform](const Request& request, Answered answered) {
    platform.job_creations.prepare(request, [&platform, answered](const std::optional<storage::NewJob>& job, std::exception_ptr error) {
      std::optional<Response> response;
      try {
        if (job) response = quote_job(platform, *job);
      } catch (...) {
        error = std::current_exception();
      }
      answered(std::move(response), error);
    });
  });
}

}  // namespace finetuned::gateway
