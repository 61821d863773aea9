#include "services/gateway/admin.h"
#include "services/gateway/admin_shapes.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/job_request.h"
#include "services/gateway/routes/routes.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;
using storage::QuotaStore;

namespace {

constexpr std::int64_t kMostCount = 1'000'000'000'000'000;
constexpr std::int64_t kMostWeight = 1000;

json::object get_quotas(Transaction& tx, const Request& request) {
  const storage::Project project = own_project(tx, request);
  QuotaStore quotas(tx);
  return quotas_shape(quotas.get(project.id), quotas.used(project.id));
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
  quotas.share_weight = fields.integer("share_weight", 1, kMostWeight).value_or(1);
  const storage::Project project = open_project(tx, request);
  QuotaStore(tx).put(project.id, quotas);
  const json::object shape = quotas_shape(quotas, QuotaStore(tx).used(project.id));
  json::object changes = shape;
  for (const char* not_asked_for : {"object", "used", "month_ends_at"}) changes.erase(not_asked_for);
  audit(tx, request, "quota.updated", {{"id", project.id}, {"changes_requested", std::move(changes)}}, project.id);
  return shape;
}

}  // namespace

void add_quota_routes(Router& router, const Platform& platform) {
  add_admin_route(router, platform, "GET", "/v1/organization/projects/{project_id}/quotas", get_quotas);
  add_admin_route(router, platform, "PUT", "/v1/organization/projects/{project_id}/quotas", put_quotas);
}

}  // namespace finetuned::gateway
