#include "storage/webhook_store.h"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>

#include "base/ids.h"
#include "storage/cursor.h"

namespace finetuned::storage {

namespace {

constexpr char kSelect[] =
    "SELECT id, project_id, url, to_json(events)::text AS events, description, enabled, disabled_reason,"
    " extract(epoch FROM created_at)::bigint AS created_at FROM webhook_endpoint WHERE ";
constexpr char kSelectDelivery[] =
    "SELECT id, event_id, type, state, attempts, last_status, last_error, last_answer,"
    " extract(epoch FROM next_attempt_at)::bigint AS next_attempt_at, extract(epoch FROM created_at)::bigint AS created_at,"
    " extract(epoch FROM delivered_at)::bigint AS delivered_at FROM webhook_delivery WHERE ";
constexpr char kUpdate[] =
    "UPDATE webhook_endpoint SET url = coalesce($2, url), events = coalesce($3::text[], events),"
    " description = CASE WHEN $4::boolean THEN $5 ELSE description END, enabled = coalesce($6::boolean, enabled),"
    " disabled_reason = CASE WHEN coalesce($6::boolean, enabled) THEN NULL"
    "  ELSE coalesce(disabled_reason, 'disabled by the project') END WHERE id = $1";
constexpr char kTests[] =
    "SELECT count(*) AS sent, count(*) FILTER (WHERE state = 'pending') AS waiting FROM webhook_delivery"
    " WHERE endpoint_id = $1 AND type = 'webhook_endpoint.test' AND (state = 'pending' OR"
    "  created_at > clock_timestamp() - interval '1 hour')";
constexpr char kQueueTest[] =
    "INSERT INTO webhook_delivery (id, endpoint_id, project_id, event_id, type, body)"
    " VALUES ($1, $2, $3, $4, 'webhook_endpoint.test', json_build_object('id', $4::text, 'object', 'event', 'created_at',"
    "  extract(epoch FROM clock_timestamp())::bigint, 'type', 'webhook_endpoint.test',"
    "  'data', json_build_object('id', $2::text))::text)";

WebhookEndpoint read_endpoint(const postgres::Row& row) {
  WebhookEndpoint endpoint{.id = row.text("id"),
                           .project_id = row.text("project_id"),
                           .url = row.text("url"),
                           .events = {},
                           .description = row.maybe_text("description"),
                           .enabled = row.boolean("enabled"),
                           .disabled_reason = row.maybe_text("disabled_reason"),
                           .created_at = row.integer("created_at")};
  const auto events = boost::json::parse(row.text("events"));
  for (const auto& event : events.as_array()) endpoint.events.emplace_back(event.as_string());
  return endpoint;
}

WebhookDelivery read_delivery(const postgres::Row& row) {
  return {.id = row.text("id"),
          .event_id = row.text("event_id"),
          .type = row.text("type"),
          .state = row.text("state"),
          .attempts = row.integer("attempts"),
          .last_status = row.maybe_integer("last_status"),
          .last_error = row.maybe_text("last_error"),
          .last_answer = row.maybe_text("last_answer"),
          .next_attempt_at = row.maybe_integer("next_attempt_at"),
          .created_at = row.integer("created_at"),
          .delivered_at = row.maybe_integer("delivered_at")};
}

std::string make_event_id() { return "evt_" + base::make_id("").substr(1); }

}  // namespace

bool WebhookStore::create(const NewWebhookEndpoint& endpoint) {
  // The project's row is the lock under which its endpoints are counted.
  tx_.execute("SELECT 1 FROM project WHERE id = $1 FOR NO KEY UPDATE", {endpoint.project_id});
  const auto count =
      tx_.execute("SELECT count(*) AS endpoints FROM webhook_endpoint WHERE project_id = $1", {endpoint.project_id});
  if (count.row(0).integer("endpoints") >= kMostWebhookEndpoints) return false;
  tx_.execute("INSERT INTO webhook_endpoint (id, project_id, url, events, description, sealed_secret)"
              " VALUES ($1, $2, $3, $4::text[], $5, $6::bytea)",
              {endpoint.id, endpoint.project_id, endpoint.url, postgres::Value::texts(endpoint.events),
               endpoint.description, postgres::Value::bytes(endpoint.sealed_secret)});
  return true;
}

std::optional<WebhookEndpoint> WebhookStore::find(const std::string& id) {
  const auto rows = tx_.execute(std::string(kSelect) + "id = $1", {id});
  if (rows.empty()) return std::nullopt;
  return read_endpoint(rows.row(0));
}

Page<WebhookEndpoint> WebhookStore::list(const std::string& project_id, const PageRequest& request) {
  return read_page(tx_, request, "webhook_endpoint", "id", "project_id", std::string(kSelect) + "project_id = $1", {project_id},
                   read_endpoint);
}

bool WebhookStore::update(const std::string& id, const WebhookEndpointChange& change) {
  postgres::Value events = std::nullopt;
  if (change.events) events = postgres::Value::texts(*change.events);
  return tx_.execute(kUpdate, {id, change.url, events, change.description.has_value(),
                               change.description ? *change.description : std::nullopt, change.enabled})
             .affected_rows() == 1;
}

bool WebhookStore::set_secret(const std::string& id, const std::string& sealed_secret) {
  return tx_.execute("UPDATE webhook_endpoint SET sealed_secret = $2::bytea WHERE id = $1",
                     {id, postgres::Value::bytes(sealed_secret)})
             .affected_rows() == 1;
}

std::vector<std::pair<std::string, std::string>> WebhookStore::sealed_secrets() {
  const auto rows = tx_.execute("SELECT id, sealed_secret FROM webhook_endpoint ORDER BY seq FOR NO KEY UPDATE");
  std::vector<std::pair<std::string, std::string>> all;
  for (std::size_t i = 0; i < rows.size(); ++i) all.emplace_back(rows.row(i).text("id"), rows.row(i).bytes("sealed_secret"));
  return all;
}

bool WebhookStore::remove(const std::string& id) {
  return tx_.execute("DELETE FROM webhook_endpoint WHERE id = $1", {id}).affected_rows() == 1;
}

WebhookStore::Queued WebhookStore::queue_test(const WebhookEndpoint& endpoint, WebhookDelivery* queued) {
  tx_.execute("SELECT 1 FROM webhook_endpoint WHERE id = $1 FOR NO KEY UPDATE", {endpoint.id});
  const auto tests = tx_.execute(kTests, {endpoint.id});
  if (tests.row(0).integer("waiting") > 0) return Queued::kOneWaits;
  if (tests.row(0).integer("sent") >= kMostWebhookTestsAnHour) return Queued::kTooMany;
  const std::string id = base::make_id("whd");
  tx_.execute(kQueueTest, {id, endpoint.id, endpoint.project_id, make_event_id()});
  *queued = read_delivery(tx_.execute(std::string(kSelectDelivery) + "id = $1", {id}).row(0));
  return Queued::kYes;
}

Page<WebhookDelivery> WebhookStore::list_deliveries(const std::string& endpoint_id, const PageRequest& request) {
  return read_page(tx_, request, "webhook_delivery", "id", "endpoint_id", std::string(kSelectDelivery) + "endpoint_id = $1",
                   {endpoint_id}, read_delivery);
}

}  // namespace finetuned::storage
