#include "billing/quotas.h"

#include <chrono>

#include "services/gateway/admin.h"
#include "services/gateway/admin_shapes.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/job_request.h"
#include "services/gateway/rate_limiter.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;
using storage::QuotaStore;

namespace {

constexpr std::int64_t kMostCount = 1'000'000'000'000'000;
constexpr std::int64_t kMostWeight = 1000;

/// Money is a string, as everywhere.
json::value counted(const billing::LimitUse& use, std::int64_t amount) {
  if (use.unit == "nano_dollars") return json::value(std::to_string(amount));
  return json::value(amount);
}

json::object limit_shape(const billing::LimitUse& use) {
  json::object shape;
  shape["name"] = use.name;
  shape["unit"] = use.unit;
  shape["limit"] = use.limit ? counted(use, *use.limit) : json::value(nullptr);
  shape["used"] = counted(use, use.used);
  shape["frees_at"] = or_null(use.frees_at);
  shape["frees"] = use.frees;
  return shape;
}

json::object whole_shape(Transaction& tx, const storage::Project& project, const storage::Quotas& quotas) {
  json::object shape = quotas_shape(quotas, QuotaStore(tx).used(project.id));
  json::array limits;
  for (const billing::LimitUse& use : billing::limit_uses(tx, project.organization_id, project.id)) limits.push_back(limit_shape(use));
  shape["limits"] = std::move(limits);
  return shape;
}

json::object get_quotas(Transaction& tx, const Request& request) {
  const storage::Project project = own_project(tx, request);
  return whole_shape(tx, project, QuotaStore(tx).get(project.id));
}

/// The whole of them: what is left out or null has no limit from then on, and the weight is 1.
json::object put_quotas(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  storage::Quotas quotas;
  quotas.queued_jobs = fields.integer("queued_jobs", 0, kMostCount);
  quotas.running_jobs = fields.integer("running_jobs", 0, kMostCount);
  quotas.storage_bytes = fields.integer("storage_bytes", 0, kMostCount);
  quotas.tokens_per_month = fields.integer("tokens_per_month", 0, kMostCount);
  quotas.upload_bytes_per_day = fields.integer("upload_bytes_per_day", 0, kMostCount);
  quotas.share_weight = fields.integer("share_weight", 1, kMostWeight).value_or(1);
  const storage::Project project = open_project(tx, request);
  QuotaStore(tx).put(project.id, quotas);
  const json::object shape = whole_shape(tx, project, quotas);
  json::object changes = shape;
  for (const char* not_asked_for : {"object", "used", "day_ends_at", "month_ends_at", "limits"}) changes.erase(not_asked_for);
  audit(tx, request, "quota.updated", {{"id", project.id}, {"changes_requested", std::move(changes)}}, project.id);
  return shape;
}

/// Those of a minute, which are counted in Redis: as far as this gateway knows, and what every model's own leave of them.
json::array minute_limits(const Platform& platform, const std::string& project_id) {
  const std::vector<RateLimitRule> rules{{"project:" + project_id, platform.rates.requests_per_project},
                                         {"tokens:" + project_id, platform.rates.tokens_per_project}};
  const RateOutcome now = platform.limiter.take(rules, 0);
  const std::int64_t time = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  json::array limits;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const RateView& view = now.views.at(i);
    std::optional<std::int64_t> full;
    if (view.remaining < view.limit) full = time + std::chrono::ceil<std::chrono::seconds>(view.reset).count();
    limits.push_back(limit_shape({i == 0 ? "requests_per_minute" : "tokens_per_minute", i == 0 ? "requests" : "tokens", view.limit,
                                  view.limit - view.remaining, full, "It frees as the minute passes."}));
  }
  return limits;
}

void add_route(Router& router, const Platform& platform, const char* method, AdminHandler handler) {
  router.add(method, "/v1/organization/projects/{project_id}/quotas", Access::kAdmin, [&platform, handler](const Request& request) {
    json::object shape = platform.database.transact(postgres::Scope::system(),
                                                    [&](Transaction& tx) { return handler(tx, request); });
    for (json::value& limit : minute_limits(platform, request.params.at(0))) shape["limits"].as_array().push_back(std::move(limit));
    return json_response(shape);
  });
}

}  // namespace

void add_quota_routes(Router& router, const Platform& platform) {
  add_route(router, platform, "GET", get_quotas);
  add_route(router, platform, "PUT", put_quotas);
}

}  // namespace finetuned::gateway
