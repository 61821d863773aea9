#include <algorithm>
#include <span>

#include "base/base64.h"
#include "base/errors.h"
#include "base/https_url.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/sealing.h"
#include "services/gateway/admin.h"
#include "services/gateway/idempotency.h"
#include "services/gateway/job_request.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "storage/postgres/pool.h"
#include "storage/webhook_store.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using storage::WebhookEndpoint;
using storage::WebhookStore;

namespace {

constexpr int kDefaultListed = 20, kMostListed = 100;
constexpr std::size_t kMostDescription = 256, kSecretBytes = 32;
constexpr std::string_view kEvents[] = {"billing.spend_alert.reached", "fine_tuning.job.cancelled", "fine_tuning.job.failed",
                                        "fine_tuning.job.succeeded"};
constexpr std::span kJobEvents = std::span(kEvents).subspan<1>();  // for who names none

WebhookEndpoint find_endpoint(Transaction& tx, const std::string& id) {
  auto endpoint = base::is_id(id, "we") ? WebhookStore(tx).find(id) : std::nullopt;
  if (!endpoint)
    throw base::ApiError(404, "invalid_request_error", "webhook_endpoint_not_found", "No such webhook endpoint: " + id,
                         "webhook_endpoint_id");
  return *endpoint;
}

json::object endpoint_shape(const WebhookEndpoint& endpoint) {
  json::object shape;
  shape["object"] = "webhook_endpoint";
  shape["id"] = endpoint.id;
  shape["created_at"] = endpoint.created_at;
  shape["url"] = endpoint.url;
  shape["events"] = json::array(endpoint.events.begin(), endpoint.events.end());
  shape["description"] = or_null(endpoint.description);
  shape["enabled"] = endpoint.enabled;
  shape["disabled_reason"] = or_null(endpoint.disabled_reason);
  return shape;
}

json::object delivery_shape(const storage::WebhookDelivery& delivery) {
  json::object shape;
  shape["object"] = "webhook_endpoint.delivery";
  shape["id"] = delivery.id;
  shape["event_id"] = delivery.event_id;
  shape["type"] = delivery.type;
  shape["status"] = delivery.state;
  shape["attempts"] = delivery.attempts;
  shape["last_status"] = or_null(delivery.last_status);
  shape["last_error"] = or_null(delivery.last_error);
  shape["last_answer"] = or_null(delivery.last_answer);
  shape["next_attempt_at"] = or_null(delivery.next_attempt_at);
  shape["created_at"] = delivery.created_at;
  shape["delivered_at"] = or_null(delivery.delivered_at);
  return shape;
}

std::string read_url(const json::value& value) {
  if (!value.is_string()) throw base::bad_request("invalid_value", "url must be a string.", "url");
  try {
    return base::parse_https_url(value.get_string()).text();
  } catch (const base::UrlError& error) {
    throw base::bad_request("invalid_value", std::string("url ") + error.what() + ".", "url");
  }
}

/// In the order of their names, each once.
std::vector<std::string> read_events(const json::value& value) {
  const auto fault = [] {
    std::string known;
    for (const std::string_view event : kEvents) known += (known.empty() ? "" : ", ") + std::string(event);
    return base::bad_request("invalid_value", "events must be an array of one or more of " + known + ", each once.", "events");
  };
  if (!value.is_array() || value.get_array().empty() || value.get_array().size() > std::size(kEvents)) throw fault();
  std::vector<std::string> events;
  for (const json::value& one : value.get_array()) {
    const std::string event = one.is_string() ? std::string(one.get_string()) : "";
    if (std::find(std::begin(kEvents), std::end(kEvents), event) == std::end(kEvents) ||
        std::find(events.begin(), events.end(), event) != events.end())
      throw fault();
    events.push_back(event);
  }
  std::sort(events.begin(), events.end());
  return events;
}

std::optional<std::string> read_description(const json::value& value) {
  if (value.is_null()) return std::nullopt;
  if (!value.is_string() || value.get_string().size() > kMostDescription)
    throw base::bad_request("invalid_value", "description must be null or a string of at most 256 bytes.", "description");
  return std::string(value.get_string());
}

/// What of the body's keys is there, checked; `may_enable` where `enabled` is one of them. Others are ignored.
storage::WebhookEndpointChange read_change(std::string_view body, bool may_enable) {
  storage::WebhookEndpointChange change;
  for (const auto& [key, value] : parse_body(body)) {
    if (key == "url") {
      change.url = read_url(value);
    } else if (key == "events") {
      change.events = read_events(value);
    } else if (key == "description") {
      change.description = read_description(value);
    } else if (key == "enabled" && may_enable) {
      if (!value.is_bool()) throw base::bad_request("invalid_value", "enabled must be true or false.", "enabled");
      change.enabled = value.get_bool();
    } else if (key == "enabled" || key == "secret") {  // the rest means nothing, and is ignored
      throw base::bad_request("unknown_parameter", "Unknown parameter: " + std::string(key) + (key == "secret"
                                  ? ". Secrets are made here: see rotate_secret."
                                  : ". An endpoint begins enabled; change it with a POST to the endpoint."), std::string(key));
    }
  }
  return change;
}

/// Of a URL, whose path and query may hold a receiver's secret, the host alone.
std::string host_of(const std::string& url) { return base::parse_https_url(url).authority(); }

void audit_change(Transaction& tx, const Request& request, const std::string& what, json::object payload) {
  audit(tx, request, "webhook_endpoint." + what, std::move(payload), request.principal.project_id);
}

json::object changes_of(const storage::WebhookEndpointChange& change) {
  json::object changes;
  if (change.url) changes["host"] = host_of(*change.url);
  if (change.events) changes["events"] = json::array(change.events->begin(), change.events->end());
  if (change.description) changes["description"] = or_null(*change.description);
  if (change.enabled) changes["enabled"] = *change.enabled;
  return changes;
}

/// The bytes as they are shown, once.
std::string shown(const std::string& secret) { return "whsec_" + base::base64_encode(secret); }

Response create_endpoint(const Platform& platform, const Request& request) {
  const auto given = read_change(request.body, false);
  if (!given.url) throw base::bad_request("missing_required_parameter", "Missing required parameter: url.", "url");
  const std::string secret = base::random_bytes(kSecretBytes);
  storage::NewWebhookEndpoint endpoint;
  endpoint.id = base::make_id("we");
  endpoint.project_id = request.principal.project_id;
  endpoint.url = *given.url;
  endpoint.events = given.events.value_or(std::vector<std::string>(kJobEvents.begin(), kJobEvents.end()));
  if (given.description) endpoint.description = *given.description;
  endpoint.sealed_secret = platform.webhooks_key.seal(secret, endpoint.id);
  const auto make = [&](Transaction& tx) {
    if (!WebhookStore(tx).create(endpoint))
      throw base::bad_request("too_many_webhook_endpoints", "A project has at most " +
                                  std::to_string(storage::kMostWebhookEndpoints) + " webhook endpoints: delete one first.");
    json::object shape = endpoint_shape(find_endpoint(tx, endpoint.id));
    audit_change(tx, request, "created", {{"id", endpoint.id}, {"data", {{"host", host_of(endpoint.url)}, {"events", shape.at("events")}}}});
    shape["secret"] = shown(secret);
    return shape;
  };
  const json::object shape = platform.database.transact(Scope::project(endpoint.project_id), [&](Transaction& tx) {
    return answer_once(tx, platform, request, [&] { return make(tx); });
  });
  if (std::string(shape.at("id").as_string()) == endpoint.id)
    base::log_info("a webhook endpoint was added", {{"endpoint", endpoint.id}, {"project", endpoint.project_id}});
  return json_response(shape);
}

Response list_endpoints(const Platform& platform, const Request& request) {
  const auto page = page_request(request, kDefaultListed, kMostListed);
  const std::string& project = request.principal.project_id;
  const auto endpoints = platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    return WebhookStore(tx).list(project, page);
  });
  return json_response(cursor_list(endpoints, endpoint_shape));
}

Response get_endpoint(const Platform& platform, const Request& request) {
  const auto endpoint = platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    return find_endpoint(tx, request.params.at(0));
  });
  return json_response(endpoint_shape(endpoint));
}

Response update_endpoint(const Platform& platform, const Request& request) {
  const auto change = read_change(request.body, true);
  const std::string& id = request.params.at(0);
  const auto endpoint = platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    find_endpoint(tx, id);
    WebhookStore(tx).update(id, change);
    WebhookEndpoint changed = find_endpoint(tx, id);
    json::object changes = changes_of(change);
    if (!changes.empty()) audit_change(tx, request, "updated", {{"id", id}, {"changes_requested", std::move(changes)}});
    return changed;
  });
  return json_response(endpoint_shape(endpoint));
}

Response delete_endpoint(const Platform& platform, const Request& request) {
  const std::string& id = request.params.at(0);
  platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    find_endpoint(tx, id);
    WebhookStore(tx).remove(id);
    audit_change(tx, request, "deleted", {{"id", id}});
  });
  return json_response(deleted_shape(id, "webhook_endpoint"));
}

Response rotate_secret(const Platform& platform, const Request& request) {
  const std::string& id = request.params.at(0);
  const std::string secret = base::random_bytes(kSecretBytes);
  const std::string& project = request.principal.project_id;
  const auto shape = platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    find_endpoint(tx, id);  // before an answer that was kept: the endpoint may be gone since
    return answer_once(tx, platform, request, [&] {
      json::object rotated = endpoint_shape(find_endpoint(tx, id));
      WebhookStore(tx).set_secret(id, platform.webhooks_key.seal(secret, id));
      audit_change(tx, request, "secret_rotated", {{"id", id}});
      rotated["secret"] = shown(secret);
      return rotated;
    });
  });
  if (std::string(shape.at("secret").as_string()) == shown(secret))
    base::log_info("a webhook endpoint's secret was rotated", {{"endpoint", id}, {"project", project}});
  return json_response(shape);
}

Response list_deliveries(const Platform& platform, const Request& request) {
  const auto page = page_request(request, kDefaultListed, kMostListed);
  const auto deliveries =
      platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
        const WebhookEndpoint endpoint = find_endpoint(tx, request.params.at(0));
        return WebhookStore(tx).list_deliveries(endpoint.id, page);
      });
  return json_response(cursor_list(deliveries, delivery_shape));
}

Response test_endpoint(const Platform& platform, const Request& request) {
  using Queued = WebhookStore::Queued;
  const auto queue = [&](Transaction& tx) {
    const WebhookEndpoint endpoint = find_endpoint(tx, request.params.at(0));
    if (!endpoint.enabled)
      throw base::bad_request("webhook_endpoint_disabled",
                              "The endpoint is disabled (" + *endpoint.disabled_reason + "): enable it first.");
    storage::WebhookDelivery queued;
    const Queued outcome = WebhookStore(tx).queue_test(endpoint, &queued);
    if (outcome == Queued::kOneWaits)
      throw base::ApiError(409, "invalid_request_error", "webhook_test_pending",
                           "A test of this endpoint has not been delivered yet: see its deliveries.");
    if (outcome == Queued::kTooMany)
      throw base::ApiError(429, "rate_limit_error", "rate_limit_exceeded",
                           "An endpoint is tested at most " + std::to_string(storage::kMostWebhookTestsAnHour) +
                               " times an hour.");
    return delivery_shape(queued);
  };
  return json_response(platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    return answer_once(tx, platform, request, [&] { return queue(tx); });
  }));
}

}  // namespace

void add_webhook_routes(Router& router, const Platform& platform) {
  using Answer = Response (*)(const Platform&, const Request&);
  const auto add = [&](const char* method, const char* path, Answer answer) {
    router.add(method, path, Access::kProject,
               [&platform, answer](const Request& request) { return answer(platform, request); });
  };
  add("POST", "/v1/webhook_endpoints", create_endpoint);
  add("GET", "/v1/webhook_endpoints", list_endpoints);
  add("GET", "/v1/webhook_endpoints/{webhook_endpoint_id}", get_endpoint);
  add("POST", "/v1/webhook_endpoints/{webhook_endpoint_id}", update_endpoint);
  add("DELETE", "/v1/webhook_endpoints/{webhook_endpoint_id}", delete_endpoint);
  add("POST", "/v1/webhook_endpoints/{webhook_endpoint_id}/rotate_secret", rotate_secret);
  add("GET", "/v1/webhook_endpoints/{webhook_endpoint_id}/deliveries", list_deliveries);
  add("POST", "/v1/webhook_endpoints/{webhook_endpoint_id}/test", test_endpoint);
}

}  // namespace finetuned::gateway
