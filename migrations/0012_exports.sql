-- Fine-tuned models as files that engines elsewhere load: work for the workers, one row a model and format.

CREATE TABLE model_export (
  seq           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id            text PRIMARY KEY,
  project_id    text NOT NULL REFERENCES project (id),
  model         text NOT NULL CHECK (length(model) BETWEEN 1 AND 400),
  format        text NOT NULL CHECK (format IN ('peft', 'merged')),
  status        text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'done', 'failed')),
  file_id       text REFERENCES file (id),
  error_code    text,
  error_message text,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at   timestamptz,
  worker        text,
  attempts      int NOT NULL DEFAULT 0,
  lease_epoch   bigint NOT NULL DEFAULT 0,
  lease_until   timestamptz,
  UNIQUE (project_id, model, format),
  CHECK ((status = 'running') = (lease_until IS NOT NULL)),
  CHECK ((status = 'done') = (file_id IS NOT NULL)),
  CHECK ((status = 'failed') = (error_code IS NOT NULL)),
  CHECK ((status IN ('done', 'failed')) = (finished_at IS NOT NULL))
);
CREATE INDEX model_export_waiting ON model_export (seq) WHERE status IN ('queued', 'running');
CREATE INDEX model_export_file ON model_export (file_id);
ALTER TABLE model_export ENABLE ROW LEVEL SECURITY;
ALTER TABLE model_export FORCE ROW LEVEL SECURITY;
CREATE POLICY model_export_scope ON model_export USING (serves_project(project_id));
