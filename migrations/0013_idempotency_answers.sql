-- What a create request of an administrator, or one that makes a webhook endpoint, was answered: a client that repeats the
-- request gets the same answer. Written by the transaction that made the thing.

-- project_id: NULL for requests with an admin key. key: as in idempotent_request.
-- request_sha256: of method, path and body. sealed_answer: AES-256-GCM under webhooks.secret_key (base/sealing.h), for
-- answers hold keys and secrets.
CREATE TABLE idempotent_answer (
  organization_id text NOT NULL REFERENCES organization (id),
  project_id      text REFERENCES project (id),
  key             text NOT NULL CHECK (length(key) <= 300),
  request_sha256  text NOT NULL CHECK (request_sha256 ~ '^[0-9a-f]{64}$'),
  sealed_answer   bytea NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE NULLS NOT DISTINCT (organization_id, project_id, key)
);
CREATE INDEX idempotent_answer_age ON idempotent_answer (created_at);
ALTER TABLE idempotent_answer ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotent_answer FORCE ROW LEVEL SECURITY;
CREATE POLICY idempotent_answer_scope ON idempotent_answer USING (serves_project(project_id));
