#include "billing/spend_alerts.h"

#include "storage/audit_store.h"

namespace finetuned::billing {

namespace {

// Spending is added up where an alert waits for it; of an organization in the order of its name, as the audit log's chains are locked.
constexpr char kReached[] =
    "WITH month AS (SELECT date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') AS start),"
    " watched AS (SELECT a.id, a.organization_id, a.project_id, a.threshold_cents, month.start::date AS month FROM spend_alert a, month"
    "  WHERE a.deleted_at IS NULL AND NOT EXISTS (SELECT FROM spend_alert_reached r WHERE r.alert_id = a.id"
    "   AND r.month = month.start::date AND r.threshold_cents = a.threshold_cents)),"
    " spent AS (SELECT p.organization_id, p.id AS project_id,"
    "  coalesce((SELECT sum(amount) FROM transfer t, month WHERE t.project_id = p.id AND t.kind = 'post'"
    "   AND t.debit_id IN (SELECT id FROM account WHERE project_id = p.id AND kind = 'prepaid' AND ledger = 'USD_NANO')"
    "   AND t.created_at >= month.start AT TIME ZONE 'UTC'), 0)"
    "  - (SELECT given_back_since(p.id, month.start AT TIME ZONE 'UTC') FROM month)"
    "  + coalesce((SELECT sum(debits_pending) FROM account a WHERE a.project_id = p.id AND a.kind = 'prepaid'"
    "   AND a.ledger = 'USD_NANO'), 0) AS nano"
    "  FROM project p WHERE p.organization_id IN (SELECT organization_id FROM watched)),"
    " sums AS (SELECT w.*, (SELECT coalesce(sum(nano), 0)::bigint FROM spent s WHERE s.organization_id = w.organization_id"
    "  AND (w.project_id IS NULL OR s.project_id = w.project_id)) AS nano FROM watched w),"
    " told AS (INSERT INTO spend_alert_reached (alert_id, month, threshold_cents, spent_nano)"
    "  SELECT id, month, threshold_cents, nano FROM sums WHERE nano > 0 AND nano >= threshold_cents::numeric * 10000000"
    "  ORDER BY organization_id, id LIMIT $1 ON CONFLICT DO NOTHING RETURNING alert_id, month, spent_nano)"
    " SELECT a.id, a.organization_id, a.project_id, a.threshold_cents, told.spent_nano, to_char(told.month, 'YYYY-MM') AS month"
    " FROM told JOIN spend_alert a ON a.id = told.alert_id ORDER BY a.organization_id, a.id";

constexpr char kQueueWebhooks[] =
    "WITH event AS (SELECT 'evt_' || replace(gen_random_uuid()::text, '-', '') AS id)"
    " INSERT INTO webhook_delivery (id, endpoint_id, project_id, event_id, type, body)"
    " SELECT 'whd-' || replace(gen_random_uuid()::text, '-', ''), e.id, e.project_id, event.id, 'billing.spend_alert.reached',"
    "  json_build_object('id', event.id, 'object', 'event', 'created_at', extract(epoch FROM clock_timestamp())::bigint,"
    "   'type', 'billing.spend_alert.reached', 'data', json_build_object('id', $3::text, 'project_id', $2::text,"
    "   'threshold_amount', $4::bigint, 'currency', 'USD', 'interval', 'month', 'month', $6::text, 'spent_nano', $5::text))::text"
    " FROM event, webhook_endpoint e JOIN project p ON p.id = e.project_id"
    " WHERE p.organization_id = $1 AND ($2::text IS NULL OR p.id = $2) AND e.enabled AND 'billing.spend_alert.reached' = ANY (e.events)";

}  // namespace

std::size_t tell_spend_alerts(postgres::Transaction& tx, int most) {
  const auto reached = tx.execute(kReached, {most});
  for (std::size_t i = 0; i < reached.size(); ++i) {
    const auto row = reached.row(i);
    const std::string spent = std::to_string(row.integer("spent_nano"));
    tx.execute(kQueueWebhooks, {row.text("organization_id"), row.maybe_text("project_id"), row.text("id"), row.integer("threshold_cents"),
                                spent, row.text("month")});
    storage::AuditStore(tx).record(
        {row.text("organization_id"), row.maybe_text("project_id"), "spend_alert.reached", std::nullopt,
         {{"id", row.text("id")},
          {"data", {{"threshold_amount", row.integer("threshold_cents")}, {"month", row.text("month")}, {"spent_nano", spent}}}}});
  }
  return reached.size();
}

}  // namespace finetuned::billing
