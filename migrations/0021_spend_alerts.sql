-- Spend alerts that were reached: once an alert, threshold and calendar month (UTC), whoever notices it.

CREATE TABLE spend_alert_reached (
  alert_id        text NOT NULL REFERENCES spend_alert (id),
  month           date NOT NULL,
  threshold_cents bigint NOT NULL,
  spent_nano      bigint NOT NULL,
  reached_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (alert_id, month, threshold_cents)
);
ALTER TABLE spend_alert_reached ENABLE ROW LEVEL SECURITY;
ALTER TABLE spend_alert_reached FORCE ROW LEVEL SECURITY;
CREATE POLICY spend_alert_reached_scope ON spend_alert_reached USING (serves_project(NULL));

ALTER TABLE webhook_endpoint
  DROP CONSTRAINT webhook_endpoint_events_check,
  ADD CONSTRAINT webhook_endpoint_events_check CHECK (cardinality(events) BETWEEN 1 AND 4 AND events <@ ARRAY[
    'billing.spend_alert.reached', 'fine_tuning.job.succeeded', 'fine_tuning.job.failed', 'fine_tuning.job.cancelled']);
