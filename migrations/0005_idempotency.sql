-- Which job a create request made: a client that repeats the request gets the same job.
-- key: `key:` and the Idempotency-Key sent, or `body:` and the SHA-256 of a body that came without one.

CREATE TABLE idempotent_request (
  project_id  text NOT NULL REFERENCES project (id),
  key         text NOT NULL CHECK (length(key) <= 300),
  body_sha256 text NOT NULL CHECK (body_sha256 ~ '^[0-9a-f]{64}$'),
  job_id      text NOT NULL REFERENCES job (id),
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (project_id, key)
);
CREATE INDEX idempotent_request_age ON idempotent_request (project_id, created_at);
ALTER TABLE idempotent_request ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotent_request FORCE ROW LEVEL SECURITY;
CREATE POLICY idempotent_request_scope ON idempotent_request USING (serves_project(project_id));
