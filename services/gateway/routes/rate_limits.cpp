#include "services/gateway/admin.h"
#include "services/gateway/admin_shapes.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/job_request.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;
using storage::RateLimitStore;

namespace {

constexpr int kDefaultLimits = 100, kMostLimits = 100;
constexpr std::int64_t kMostValue = 1'000'000'000'000;

/// An id without its prefix; an empty name, which no model has, where it has another one.
std::string model_of(const std::string& id) {
  return id.starts_with(kRateLimitPrefix) ? id.substr(kRateLimitPrefix.size()) : "";
}

json::object list_limits(Transaction& tx, const Request& request) {
  auto page = page_request(request, ListRules{.default_limit = kDefaultLimits, .most = kMostLimits, .ascending = true,
                                              .with_before = true});
  if (page.after) page.after = model_of(*page.after);
  if (page.before) page.before = model_of(*page.before);
  return cursor_list(RateLimitStore(tx, own_project(tx, request).id).list(page), rate_limit_shape);
}

json::object update_limit(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  storage::RateLimits changes;
  json::object changed;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const char* name = storage::kRateLimitNames[i];
    changes[i] = fields.integer(name, 0, kMostValue);
    if (changes[i]) changed[name] = *changes[i];
  }
  const storage::Project project = open_project(tx, request);
  const std::string& id = request.params.at(1);
  RateLimitStore limits(tx, project.id);
  const auto limit = changed.empty() ? limits.find(model_of(id)) : limits.update(model_of(id), changes);
  if (!limit) throw no_such("rate_limit", id, "rate_limit_id");
  if (!changed.empty())
    audit(tx, request, "rate_limit.updated", {{"id", id}, {"changes_requested", std::move(changed)}}, project.id);
  return rate_limit_shape(*limit);
}

}  // namespace

void add_rate_limit_routes(Router& router, const Platform& platform) {
  add_admin_route(router, platform, "GET", "/v1/organization/projects/{project_id}/rate_limits", list_limits);
  add_admin_route(router, platform, "POST", "/v1/organization/projects/{project_id}/rate_limits/{rate_limit_id}", update_limit);
}

}  // namespace finetuned::gateway
