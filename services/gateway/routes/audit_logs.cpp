#include <charconv>

#include "services/gateway/admin.h"
#include "services/gateway/admin_shapes.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;

namespace {

constexpr std::int64_t kMostSecond = 100'000'000'000;  // far beyond any entry, well within a timestamp

void read_bound(storage::AuditFilter& filter, const std::string& bound, const std::string& text) {
  const std::string param = "effective_at[" + bound + "]";
  std::int64_t second = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), second);
  if (error != std::errc() || end != text.data() + text.size() || second < 0 || second > kMostSecond)
    throw base::bad_request("invalid_value", param + " must be a Unix time in seconds.", param);
  if (bound == "gt") filter.after_second = second;
  else if (bound == "gte") filter.from_second = second;
  else if (bound == "lt") filter.before_second = second;
  else if (bound == "lte") filter.to_second = second;
  else throw base::bad_request("unknown_parameter", "effective_at takes gt, gte, lt and lte.", param);
}

storage::AuditFilter read_filter(const Request& request) {
  storage::AuditFilter filter;
  for (const auto& [bound, text] : request.query_map("effective_at")) read_bound(filter, bound, text);
  filter.project_ids = query_list(request, "project_ids");
  filter.types = query_list(request, "event_types");
  filter.actor_ids = query_list(request, "actor_ids");
  filter.resource_ids = query_list(request, "resource_ids");
  // Keys act here, which have no address; and there is no tenant above an organization.
  filter.nothing = !query_list(request, "actor_emails").empty() || query_flag(request, "tenant_only");
  return filter;
}

json::object list_entries(Transaction& tx, const Request& request) {
  const auto page = page_request(request, ListRules{.with_before = true});
  return cursor_list(storage::AuditStore(tx).list(request.principal.organization_id, read_filter(request), page),
                     audit_entry_shape);
}

}  // namespace

void add_audit_log_routes(Router& router, const Platform& platform) {
  add_admin_route(router, platform, "GET", "/v1/organization/audit_logs", list_entries);
}

}  // namespace finetuned::gateway
