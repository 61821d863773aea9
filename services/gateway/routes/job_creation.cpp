#include "services/gateway/job_creation.h"

#include "base/errors.h"
#include "base/log.h"
#include "billing/admission.h"
#include "billing/ledger.h"
#include "billing/quote.h"
#include "services/gateway/idempotency.h"
#include "services/gateway/limits.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "storage/idempotency_store.h"
#include "storage/job_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

namespace {

/// The job that the same request made before, if any. Holds the request's key until the transaction ends.
std::optional<storage::Job> made_before(Transaction& tx, const std::string& project, const Repetition& repetition) {
  storage::IdempotencyStore requests(tx);
  if (!requests.try_lock(project, repetition.key) && repetition.looks_back) throw request_in_progress();
  if (!repetition.looks_back) return std::nullopt;
  const auto earlier = requests.find(project, repetition.key, repetition.age_seconds);
  if (!earlier) return std::nullopt;
  if (earlier->body_sha256 != repetition.sha256) throw idempotency_key_reused();
  return storage::JobStore(tx).find(earlier->job_id);
}

storage::Job create(Transaction& tx, const storage::NewJob& job, const Repetition& repetition) {
  if (auto earlier = made_before(tx, job.project_id, repetition)) return *earlier;
  const storage::Job created = billing::create_job(tx, job);
  storage::IdempotencyStore(tx).remember(job.project_id, repetition.key, {repetition.sha256, created.id});
  return created;
}

Response create_job(const Platform& platform, const Request& request) {
  const JobRequest asked = parse_job_request(request.body);
  const Repetition repetition = repetition_of(request);
  const storage::NewJob job = prepare_job(platform, request.principal, asked);
  take_model_request(platform, request, job.base_model);
  const auto scope = Scope::project(job.project_id);
  try {
    const auto created = platform.database.transact(scope, [&](Transaction& tx) { return create(tx, job, repetition); });
    base::log_info("a job was created", {{"job", created.id}, {"project", job.project_id}, {"model", job.model},
                                         {"status", to_string(created.state)}});
    return json_response(job_shape(created));
  } catch (const postgres::CommitOutcomeUnknown&) {
    // The row itself tells whether the commit happened.
    const auto found =
        platform.database.transact(scope, [&](Transaction& tx) { return storage::JobStore(tx).find(job.id); });
    if (found) return json_response(job_shape(*found));
    throw base::unavailable("The database went away while the job was created; there is no such job.");
  }
}

/// What the same body would cost if it were created now. Creates nothing.
Response quote_job(const Platform& platform, const Request& request) {
  const storage::NewJob job = prepare_job(platform, request.principal, parse_job_request(request.body));
  json::object shape;
  platform.database.transact(Scope::project(job.project_id), [&](Transaction& tx) {
    const auto quote = billing::make_quote(tx, billing::quote_request_of(tx, job));
    const auto available = billing::Ledger(tx).balance(job.project_id).available;
    shape = json::object();
    shape["object"] = "fine_tuning.job.quote";
    shape["model"] = job.model;
    shape["training_file"] = job.training_file;
    shape["ready"] = quote.has_value();  // false: intake is still counting; ask again
    shape["allowed"] = quote ? json::value(quote->amount <= available) : json::value(nullptr);
    shape["rows"] = quote ? json::value(quote->rows) : json::value(nullptr);
    shape["tokens_per_epoch"] = quote ? json::value(quote->tokens_per_epoch) : json::value(nullptr);
    shape["tokens"] = quote ? json::value(quote->tokens) : json::value(nullptr);
    shape["price_nano_per_1k"] = quote ? json::value(std::to_string(quote->price.nano_per_1k)) : json::value(nullptr);
    shape["price_version"] = quote ? json::value(quote->price.version) : json::value(nullptr);
    shape["amount"] = quote ? json::value(std::to_string(quote->amount.value)) : json::value(nullptr);
    shape["available"] = std::to_string(available.value);
    shape["hyperparameters"] = job.hyperparameters;
  });
  return json_response(shape);
}

}  // namespace

void add_job_creation_routes(Router& router, const Platform& platform) {
  router.add("POST", "/v1/fine_tuning/jobs", Access::kProject,
             [&platform](const Request& request) { return create_job(platform, request); });
  router.add("POST", "/v1/fine_tuning/jobs/quote", Access::kProject,
             [&platform](const Request& request) { return quote_job(platform, request); });
}

}  // namespace finetuned::gateway
