-- Fine-tuning jobs, their events, checkpoints and results, the models they made, and the outbox that wakes the roles.

CREATE TABLE job (
  seq                 bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id                  text PRIMARY KEY,
  project_id          text NOT NULL REFERENCES project (id),
  organization_id     text NOT NULL REFERENCES organization (id),
  model               text NOT NULL,
  base_model          text NOT NULL REFERENCES base_model (name),
  state               text NOT NULL CHECK (state IN ('validating_files', 'queued', 'running', 'paused', 'succeeded',
                                                     'failed', 'cancelled')),
  training_file       text NOT NULL REFERENCES file (id),
  validation_file     text REFERENCES file (id),
  hyperparameters     jsonb NOT NULL,
  method              jsonb NOT NULL,
  metadata            jsonb,
  integrations        jsonb,
  seed                bigint NOT NULL,
  suffix              text CHECK (length(suffix) <= 64),
  created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
  queued_at           timestamptz,
  started_at          timestamptz,
  finished_at         timestamptz,
  estimated_finish    timestamptz,
  fine_tuned_model    text,
  trained_tokens      bigint CHECK (trained_tokens >= 0),
  step                bigint NOT NULL DEFAULT 0,
  total_steps         bigint NOT NULL DEFAULT 0,
  error_code          text,
  error_message       text,
  error_param         text,
  cancel_requested_at timestamptz,
  worker              text,
  lease_epoch         bigint NOT NULL DEFAULT 0,
  lease_until         timestamptz,
  attempts            int NOT NULL DEFAULT 0,
  price_version       bigint,
  quoted_tokens       bigint CHECK (quoted_tokens >= 0),
  quoted_nano         bigint CHECK (quoted_nano >= 0),
  hold_transfer_id    uuid,
  settled_at          timestamptz,
  CHECK ((state = 'running') = (lease_until IS NOT NULL)),
  CHECK (state NOT IN ('queued', 'running', 'succeeded') OR price_version IS NOT NULL),
  CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
  CHECK (settled_at IS NULL OR finished_at IS NOT NULL)
);
CREATE INDEX job_of_project ON job (project_id, seq);
CREATE INDEX job_queue ON job (queued_at, seq) WHERE state = 'queued';
CREATE INDEX job_leases ON job (lease_until) WHERE state = 'running';
CREATE INDEX job_waiting ON job (seq) WHERE state = 'validating_files';
CREATE INDEX job_unsettled ON job (seq) WHERE finished_at IS NOT NULL AND settled_at IS NULL;
CREATE INDEX job_training_file ON job (training_file);
CREATE INDEX job_validation_file ON job (validation_file);
ALTER TABLE job ENABLE ROW LEVEL SECURITY;
ALTER TABLE job FORCE ROW LEVEL SECURITY;
CREATE POLICY job_scope ON job USING (serves_project(project_id));

CREATE TABLE job_event (
  seq        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id         text PRIMARY KEY,
  job_id     text NOT NULL REFERENCES job (id),
  project_id text NOT NULL REFERENCES project (id),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  type       text NOT NULL CHECK (type IN ('message', 'metrics')),
  level      text NOT NULL CHECK (level IN ('info', 'warn', 'error')),
  message    text NOT NULL,
  data       jsonb
);
CREATE INDEX job_event_of_job ON job_event (job_id, seq);
ALTER TABLE job_event ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_event FORCE ROW LEVEL SECURITY;
CREATE POLICY job_event_scope ON job_event USING (serves_project(project_id));

-- objects: {"adapter_model.safetensors": OBJECT_ID, ...}
CREATE TABLE job_checkpoint (
  seq            bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id             text PRIMARY KEY,
  job_id         text NOT NULL REFERENCES job (id),
  project_id     text NOT NULL REFERENCES project (id),
  created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  step           bigint NOT NULL CHECK (step > 0),
  trained_tokens bigint NOT NULL CHECK (trained_tokens >= 0),
  model_name     text NOT NULL,
  metrics        jsonb NOT NULL,
  objects        jsonb NOT NULL,
  UNIQUE (job_id, step)
);
ALTER TABLE job_checkpoint ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_checkpoint FORCE ROW LEVEL SECURITY;
CREATE POLICY job_checkpoint_scope ON job_checkpoint USING (serves_project(project_id));

CREATE TABLE job_result_file (
  job_id     text NOT NULL REFERENCES job (id),
  position   int NOT NULL,
  file_id    text NOT NULL REFERENCES file (id),
  project_id text NOT NULL REFERENCES project (id),
  PRIMARY KEY (job_id, position)
);
ALTER TABLE job_result_file ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_result_file FORCE ROW LEVEL SECURITY;
CREATE POLICY job_result_file_scope ON job_result_file USING (serves_project(project_id));

CREATE TABLE fine_tuned_model (
  seq        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  name       text PRIMARY KEY,
  project_id text NOT NULL REFERENCES project (id),
  job_id     text NOT NULL REFERENCES job (id),
  base_model text NOT NULL REFERENCES base_model (name),
  objects    jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  deleted_at timestamptz
);
CREATE INDEX fine_tuned_model_of_project ON fine_tuned_model (project_id, seq) WHERE deleted_at IS NULL;
ALTER TABLE fine_tuned_model ENABLE ROW LEVEL SECURITY;
ALTER TABLE fine_tuned_model FORCE ROW LEVEL SECURITY;
CREATE POLICY fine_tuned_model_scope ON fine_tuned_model USING (serves_project(project_id));

-- What must be told to Redis. A relay reads it in order and deletes what was sent, so a message may come twice but
-- is never lost while PostgreSQL stands.
CREATE TABLE outbox (
  seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project_id text NOT NULL REFERENCES project (id),
  stream     text NOT NULL,
  payload    text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY outbox_scope ON outbox USING (serves_project(project_id));
