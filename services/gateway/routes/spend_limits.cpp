#include "services/gateway/admin.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/job_request.h"
#include "services/gateway/routes/routes.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;
using storage::Spender;
using storage::SpendStore;

namespace {

constexpr std::int64_t kMostCents = 1'000'000'000'000;
constexpr std::int64_t kNanoPerCent = 10'000'000;
constexpr const char* kWhat = "spend_limit";

const std::string& id_of(const Spender& spender) {
  return spender.project_id ? *spender.project_id : spender.organization_id;
}

/// `enforcing` while no job that costs anything would be let through.
json::object limit_shape(Transaction& tx, const Spender& spender, std::int64_t cents) {
  const std::int64_t spent_cents = SpendStore(tx, spender).spending().spent_nano / kNanoPerCent;
  json::object shape;
  shape["object"] = spender_object(spender, kWhat);
  shape["threshold_amount"] = cents;
  shape["currency"] = "USD";
  shape["interval"] = "month";
  shape["enforcement"] = {{"status", spent_cents >= cents ? "enforcing" : "inactive"}};
  return shape;
}

json::object get_limit(Transaction& tx, const Request& request) {
  const Spender spender = spender_of(tx, request, false);
  const auto cents = SpendStore(tx, spender).limit();
  if (!cents) throw no_such(kWhat, "none is set for " + id_of(spender));
  return limit_shape(tx, spender, *cents);
}

json::object set_limit(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  const auto cents = fields.required("threshold_amount", fields.integer("threshold_amount", 1, kMostCents));
  fields.required("currency", fields.choice("currency", {"USD"}));
  fields.required("interval", fields.choice("interval", {"month"}));
  const Spender spender = spender_of(tx, request, true);
  SpendStore(tx, spender).set_limit(cents);
  audit(tx, request, "spend_limit.updated",
        {{"id", id_of(spender)}, {"changes_requested", {{"threshold_amount", cents}, {"currency", "USD"}, {"interval", "month"}}}},
        spender.project_id);
  return limit_shape(tx, spender, cents);
}

json::object delete_limit(Transaction& tx, const Request& request) {
  const Spender spender = spender_of(tx, request, true);
  if (!SpendStore(tx, spender).remove_limit()) throw no_such(kWhat, "none is set for " + id_of(spender));
  audit(tx, request, "spend_limit.deleted", {{"id", id_of(spender)}}, spender.project_id);
  json::object shape;
  shape["object"] = spender_object(spender, kWhat) + ".deleted";
  shape["deleted"] = true;
  return shape;
}

}  // namespace

void add_spend_limit_routes(Router& router, const Platform& platform) {
  for (const char* path : {"/v1/organization/spend_limit", "/v1/organization/projects/{project_id}/spend_limit"}) {
    add_admin_route(router, platform, "GET", path, get_limit);
    add_admin_route(router, platform, "POST", path, set_limit);
    add_admin_route(router, platform, "DELETE", path, delete_limit);
  }
}

}  // namespace finetuned::gateway
