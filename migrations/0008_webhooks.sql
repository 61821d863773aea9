-- Whom a project wants told when its jobs end, and what is to be told to whom.

-- sealed_secret: AES-256-GCM under webhooks.secret_key (base/sealing.h), for signing.
CREATE TABLE webhook_endpoint (
  seq             bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id              text PRIMARY KEY,
  project_id      text NOT NULL REFERENCES project (id),
  url             text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
  events          text[] NOT NULL CHECK (cardinality(events) BETWEEN 1 AND 3
                    AND events <@ ARRAY['fine_tuning.job.succeeded', 'fine_tuning.job.failed', 'fine_tuning.job.cancelled']),
  description     text CHECK (length(description) <= 256),
  sealed_secret   bytea NOT NULL,
  enabled         boolean NOT NULL DEFAULT true,
  disabled_reason text,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  CHECK (enabled = (disabled_reason IS NULL))
);
CREATE INDEX webhook_endpoint_of_project ON webhook_endpoint (project_id, seq);
ALTER TABLE webhook_endpoint ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_endpoint FORCE ROW LEVEL SECURITY;
CREATE POLICY webhook_endpoint_scope ON webhook_endpoint USING (serves_project(project_id));

-- One row an event and endpoint. The body is kept as it is sent, so that every try signs the same bytes.
CREATE TABLE webhook_delivery (
  seq             bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id              text PRIMARY KEY,
  endpoint_id     text NOT NULL REFERENCES webhook_endpoint (id) ON DELETE CASCADE,
  project_id      text NOT NULL REFERENCES project (id),
  event_id        text NOT NULL,
  type            text NOT NULL,
  body            text NOT NULL,
  state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'given_up')),
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  attempts        int NOT NULL DEFAULT 0,
  next_attempt_at timestamptz DEFAULT clock_timestamp(),
  lease_epoch     bigint NOT NULL DEFAULT 0,
  lease_until     timestamptz,
  last_status     int,
  last_error      text,
  last_answer     text,
  delivered_at    timestamptz,
  UNIQUE (endpoint_id, event_id),
  CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL)),
  CHECK ((state = 'delivered') = (delivered_at IS NOT NULL)),
  CHECK (state = 'pending' OR lease_until IS NULL)
);
CREATE INDEX webhook_delivery_of_endpoint ON webhook_delivery (endpoint_id, seq);
CREATE INDEX webhook_delivery_due ON webhook_delivery (next_attempt_at, seq) WHERE state = 'pending';
CREATE INDEX webhook_delivery_leased ON webhook_delivery (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX webhook_delivery_age ON webhook_delivery (created_at);
ALTER TABLE webhook_delivery ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_delivery FORCE ROW LEVEL SECURITY;
CREATE POLICY webhook_delivery_scope ON webhook_delivery USING (serves_project(project_id));

-- The one place that every ending of a job passes, whoever ends it: the transaction that ends the job says so to each
-- endpoint that asked. It runs in that transaction's scope, which sees the project's endpoints either way.
CREATE FUNCTION queue_webhooks() RETURNS trigger LANGUAGE plpgsql
AS $$
DECLARE
  event_type text := 'fine_tuning.job.' || NEW.state;
  event_id   text := 'evt_' || replace(gen_random_uuid()::text, '-', '');
BEGIN
  INSERT INTO webhook_delivery (id, endpoint_id, project_id, event_id, type, body)
  SELECT 'whd-' || replace(gen_random_uuid()::text, '-', ''), e.id, e.project_id, event_id, event_type,
         json_build_object('id', event_id, 'object', 'event', 'created_at', extract(epoch FROM NEW.finished_at)::bigint,
                           'type', event_type, 'data', json_build_object('id', NEW.id))::text
    FROM webhook_endpoint e WHERE e.project_id = NEW.project_id AND e.enabled AND event_type = ANY (e.events);
  RETURN NULL;
END $$;

CREATE TRIGGER job_webhooks AFTER UPDATE OF finished_at ON job FOR EACH ROW
  WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL) EXECUTE FUNCTION queue_webhooks();
CREATE TRIGGER job_webhooks_at_once AFTER INSERT ON job FOR EACH ROW
  WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION queue_webhooks();
