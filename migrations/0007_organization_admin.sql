-- What an organization's administrators manage: people, service accounts, limits, alerts, quotas, and the log of all
-- that they changed. Rows of people and accounts are marked as deleted, so that a cursor which names one stays good.

CREATE TABLE organization_user (
  seq               bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id                text PRIMARY KEY,
  organization_id   text NOT NULL REFERENCES organization (id),
  email             text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
  name              text CHECK (length(name) BETWEEN 1 AND 100),
  role              text NOT NULL CHECK (role IN ('owner', 'reader')),
  technical_level   text CHECK (length(technical_level) BETWEEN 1 AND 100),
  developer_persona text CHECK (length(developer_persona) BETWEEN 1 AND 100),
  created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  deleted_at        timestamptz
);
CREATE UNIQUE INDEX organization_user_email ON organization_user (organization_id, lower(email)) WHERE deleted_at IS NULL;
ALTER TABLE organization_user ENABLE ROW LEVEL SECURITY;
ALTER TABLE organization_user FORCE ROW LEVEL SECURITY;
CREATE POLICY organization_user_scope ON organization_user USING (serves_project(NULL));

CREATE TABLE project_user (
  seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project_id text NOT NULL REFERENCES project (id),
  user_id    text NOT NULL REFERENCES organization_user (id),
  role       text NOT NULL CHECK (role IN ('owner', 'member')),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  deleted_at timestamptz
);
CREATE UNIQUE INDEX project_user_once ON project_user (project_id, user_id) WHERE deleted_at IS NULL;
CREATE INDEX project_user_of_user ON project_user (user_id);
ALTER TABLE project_user ENABLE ROW LEVEL SECURITY;
ALTER TABLE project_user FORCE ROW LEVEL SECURITY;
CREATE POLICY project_user_scope ON project_user USING (serves_project(project_id));

-- role `none`: an account without access to its project, and so without keys.
CREATE TABLE service_account (
  seq        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id         text PRIMARY KEY,
  project_id text NOT NULL REFERENCES project (id),
  name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  role       text NOT NULL CHECK (role IN ('owner', 'member', 'none')),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  deleted_at timestamptz,
  UNIQUE (project_id, id)
);
CREATE INDEX service_account_of_project ON service_account (project_id, seq) WHERE deleted_at IS NULL;
ALTER TABLE service_account ENABLE ROW LEVEL SECURITY;
ALTER TABLE service_account FORCE ROW LEVEL SECURITY;
CREATE POLICY service_account_scope ON service_account USING (serves_project(project_id));

ALTER TABLE api_key
  ADD COLUMN expires_at timestamptz,
  ADD COLUMN service_account_id text,
  ADD FOREIGN KEY (project_id, service_account_id) REFERENCES service_account (project_id, id),
  ADD CHECK (service_account_id IS NULL OR kind = 'project');
CREATE INDEX api_key_of_account ON api_key (service_account_id);
CREATE INDEX api_key_of_organization ON api_key (organization_id, seq) WHERE kind = 'admin';

-- What a project's limits differ in from the defaults of every registered model; NULL: the default.
CREATE TABLE rate_limit (
  project_id                       text NOT NULL REFERENCES project (id),
  model                            text NOT NULL REFERENCES base_model (name),
  max_requests_per_1_minute        bigint CHECK (max_requests_per_1_minute >= 0),
  max_tokens_per_1_minute          bigint CHECK (max_tokens_per_1_minute >= 0),
  max_images_per_1_minute          bigint CHECK (max_images_per_1_minute >= 0),
  max_audio_megabytes_per_1_minute bigint CHECK (max_audio_megabytes_per_1_minute >= 0),
  max_requests_per_1_day           bigint CHECK (max_requests_per_1_day >= 0),
  batch_1_day_max_input_tokens     bigint CHECK (batch_1_day_max_input_tokens >= 0),
  updated_at                       timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (project_id, model)
);
ALTER TABLE rate_limit ENABLE ROW LEVEL SECURITY;
ALTER TABLE rate_limit FORCE ROW LEVEL SECURITY;
CREATE POLICY rate_limit_scope ON rate_limit USING (serves_project(project_id));

-- Of a project, or with project_id NULL of the whole organization. Cents of a US dollar a calendar month.
CREATE TABLE spend_limit (
  seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  organization_id text NOT NULL REFERENCES organization (id),
  project_id      text REFERENCES project (id),
  threshold_cents bigint NOT NULL CHECK (threshold_cents >= 1),
  updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE NULLS NOT DISTINCT (organization_id, project_id)
);
ALTER TABLE spend_limit ENABLE ROW LEVEL SECURITY;
ALTER TABLE spend_limit FORCE ROW LEVEL SECURITY;
CREATE POLICY spend_limit_scope ON spend_limit USING (serves_project(project_id));

CREATE TABLE spend_alert (
  seq             bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id              text PRIMARY KEY,
  organization_id text NOT NULL REFERENCES organization (id),
  project_id      text REFERENCES project (id),
  threshold_cents bigint NOT NULL CHECK (threshold_cents >= 0),
  recipients      jsonb NOT NULL CHECK (jsonb_typeof(recipients) = 'array'),
  subject_prefix  text,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  deleted_at      timestamptz
);
CREATE INDEX spend_alert_of_owner ON spend_alert (organization_id, project_id, seq) WHERE deleted_at IS NULL;
ALTER TABLE spend_alert ENABLE ROW LEVEL SECURITY;
ALTER TABLE spend_alert FORCE ROW LEVEL SECURITY;
CREATE POLICY spend_alert_scope ON spend_alert USING (serves_project(project_id));

-- NULL: unlimited. A project without a row has no limits and a weight of 1.
CREATE TABLE project_quota (
  project_id       text PRIMARY KEY REFERENCES project (id),
  queued_jobs      bigint CHECK (queued_jobs >= 0),
  running_jobs     bigint CHECK (running_jobs >= 0),
  storage_bytes    bigint CHECK (storage_bytes >= 0),
  tokens_per_month bigint CHECK (tokens_per_month >= 0),
  share_weight     bigint NOT NULL DEFAULT 1 CHECK (share_weight BETWEEN 1 AND 1000),
  updated_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE project_quota ENABLE ROW LEVEL SECURITY;
ALTER TABLE project_quota FORCE ROW LEVEL SECURITY;
CREATE POLICY project_quota_scope ON project_quota USING (serves_project(project_id));

-- The log: one chain an organization. A row's hash covers all of the row and the hash before it, so that no row can be
-- altered, moved or taken out unnoticed; audit_chain knows where each chain ends.
CREATE TABLE audit_log (
  seq             bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id              text PRIMARY KEY,
  organization_id text NOT NULL REFERENCES organization (id),
  project_id      text REFERENCES project (id),
  type            text NOT NULL CHECK (length(type) BETWEEN 1 AND 100),
  actor_key_id    text REFERENCES api_key (id),  -- NULL: the platform's operator
  resource_id     text NOT NULL,
  payload         jsonb NOT NULL,
  effective_at    timestamptz NOT NULL,
  position        bigint NOT NULL,  -- 1, 2, 3... in its chain
  previous_hash   text NOT NULL,    -- '' in the first row
  hash            text NOT NULL,
  UNIQUE (organization_id, position)
);
CREATE INDEX audit_log_of_organization ON audit_log (organization_id, seq);

CREATE TABLE audit_chain (
  organization_id text PRIMARY KEY REFERENCES organization (id),
  entries         bigint NOT NULL,
  hash            text NOT NULL
);
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_log_scope ON audit_log USING (serves_project(NULL));
ALTER TABLE audit_chain ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_chain FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_chain_scope ON audit_chain USING (serves_project(NULL));

CREATE FUNCTION audit_log_hash(entry audit_log) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT encode(sha256(convert_to(entry.previous_hash || jsonb_build_array(entry.seq, entry.position, entry.id,
        entry.organization_id, entry.project_id, entry.type, entry.actor_key_id, entry.resource_id, entry.payload,
        (extract(epoch FROM entry.effective_at) * 1000000)::bigint)::text, 'UTF8')), 'hex') $$;

CREATE FUNCTION chain_audit_log() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('audit ' || NEW.organization_id, 0));
  NEW.effective_at := clock_timestamp();
  SELECT entries + 1, hash INTO NEW.position, NEW.previous_hash FROM audit_chain
    WHERE organization_id = NEW.organization_id;
  NEW.position := coalesce(NEW.position, 1);
  NEW.previous_hash := coalesce(NEW.previous_hash, '');
  NEW.hash := audit_log_hash(NEW);
  INSERT INTO audit_chain (organization_id, entries, hash) VALUES (NEW.organization_id, NEW.position, NEW.hash)
    ON CONFLICT (organization_id) DO UPDATE SET entries = excluded.entries, hash = excluded.hash;
  RETURN NEW;
END $$;

CREATE TRIGGER audit_log_chained BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION chain_audit_log();
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
