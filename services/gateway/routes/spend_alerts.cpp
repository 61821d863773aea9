#include "services/gateway/admin.h"
#include "services/gateway/admin_shapes.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/job_request.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;
using storage::Spender;
using storage::SpendStore;

namespace {

constexpr std::int64_t kMostCents = 1'000'000'000'000;
constexpr std::size_t kMostRecipients = 50, kMostPrefix = 200;
constexpr const char* kWhat = "spend_alert";
constexpr const char* kChannel = "notification_channel";

std::vector<std::string> read_recipients(const BodyFields& channel) {
  const json::value* given = channel.find("recipients");
  const std::string param = std::string(kChannel) + ".recipients";
  const auto refuse = [&] {
    return base::bad_request("invalid_value", param + " must be an array of 1 to " + std::to_string(kMostRecipients) +
                                                  " e-mail addresses.", param);
  };
  if (!given || !given->is_array() || given->get_array().empty() || given->get_array().size() > kMostRecipients)
    throw refuse();
  std::vector<std::string> recipients;
  for (const json::value& one : given->get_array()) {
    if (!one.is_string() || !is_email(one.get_string())) throw refuse();
    recipients.emplace_back(one.get_string());
  }
  return recipients;
}

storage::NewSpendAlert read_alert(const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  storage::NewSpendAlert alert;
  alert.threshold_cents = fields.required("threshold_amount", fields.integer("threshold_amount", 0, kMostCents));
  fields.required("currency", fields.choice("currency", {"USD"}));
  fields.required("interval", fields.choice("interval", {"month"}));
  const json::value* given = fields.find(kChannel);
  if (!given || !given->is_object())
    throw base::bad_request(given ? "invalid_value" : "missing_required_parameter",
                            std::string(kChannel) + " must be an object with type and recipients.", kChannel);
  const BodyFields channel(given->get_object(), std::string(kChannel) + ".");
  channel.required("type", channel.choice("type", {"email"}));
  alert.recipients = read_recipients(channel);
  alert.subject_prefix = channel.text("subject_prefix", kMostPrefix);
  return alert;
}

/// The alert's id is the path's last segment.
const std::string& alert_id(const Request& request) { return request.params.back(); }

base::ApiError no_alert(const Request& request) { return no_such(kWhat, alert_id(request), "alert_id"); }

json::object payload_of(const storage::SpendAlert& alert, const char* key) {
  return {{"id", alert.id}, {key, {{"threshold_amount", alert.alert.threshold_cents}}}};
}

json::object list_alerts(Transaction& tx, const Request& request) {
  const auto page = page_request(request, ListRules{.least = 0, .ascending = true, .with_before = true});
  const Spender spender = spender_of(tx, request, false);
  return cursor_list(SpendStore(tx, spender).list_alerts(page), [&](const storage::SpendAlert& alert) {
    return spend_alert_shape(alert, spender_object(spender, kWhat));
  });
}

json::object create_alert(Transaction& tx, const Request& request) {
  const storage::NewSpendAlert given = read_alert(request);
  const Spender spender = spender_of(tx, request, true);
  const storage::SpendAlert alert = SpendStore(tx, spender).add_alert(given);
  audit(tx, request, "spend_alert.created", payload_of(alert, "data"), spender.project_id);
  return spend_alert_shape(alert, spender_object(spender, kWhat));
}

json::object get_alert(Transaction& tx, const Request& request) {
  const Spender spender = spender_of(tx, request, false);
  const auto alert = SpendStore(tx, spender).find_alert(alert_id(request));
  if (!alert) throw no_alert(request);
  return spend_alert_shape(*alert, spender_object(spender, kWhat));
}

json::object replace_alert(Transaction& tx, const Request& request) {
  const storage::NewSpendAlert given = read_alert(request);
  const Spender spender = spender_of(tx, request, true);
  const auto alert = SpendStore(tx, spender).replace_alert(alert_id(request), given);
  if (!alert) throw no_alert(request);
  audit(tx, request, "spend_alert.updated", payload_of(*alert, "changes_requested"), spender.project_id);
  return spend_alert_shape(*alert, spender_object(spender, kWhat));
}

json::object delete_alert(Transaction& tx, const Request& request) {
  const Spender spender = spender_of(tx, request, true);
  if (!SpendStore(tx, spender).remove_alert(alert_id(request))) throw no_alert(request);
  audit(tx, request, "spend_alert.deleted", {{"id", alert_id(request)}}, spender.project_id);
  return deleted_shape(alert_id(request), spender_object(spender, kWhat) + ".deleted");
}

}  // namespace

void add_spend_alert_routes(Router& router, const Platform& platform) {
  for (const char* path : {"/v1/organization/spend_alerts", "/v1/organization/projects/{project_id}/spend_alerts"}) {
    const std::string one = std::string(path) + "/{alert_id}";
    add_admin_route(router, platform, "GET", path, list_alerts);
    add_admin_create_route(router, platform, path, create_alert);
    add_admin_route(router, platform, "GET", one, get_alert);
    add_admin_route(router, platform, "POST", one, replace_alert);
    add_admin_route(router, platform, "DELETE", one, delete_alert);
  }
}

}  // namespace finetuned::gateway
