-- Organizations, their projects, and the keys that open them.
--
-- Row-level security: a transaction says once whom it serves, by SET LOCAL finetuned.project_id or
-- finetuned.scope = 'system'. Without either, tenant tables have no rows. FORCE binds the owner too; only superusers
-- and BYPASSRLS roles see past it, so the platform connects as neither.

CREATE FUNCTION serves_project(row_project text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT current_setting('finetuned.scope', true) = 'system'
          OR row_project = current_setting('finetuned.project_id', true) $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN
  RAISE EXCEPTION 'table % is append only: write a correction instead', TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TABLE organization (
  seq        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id         text PRIMARY KEY,
  name       text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE project (
  seq             bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id              text PRIMARY KEY,
  organization_id text NOT NULL REFERENCES organization (id),
  name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  archived_at     timestamptz,
  UNIQUE (organization_id, name)
);
ALTER TABLE project ENABLE ROW LEVEL SECURITY;
ALTER TABLE project FORCE ROW LEVEL SECURITY;
CREATE POLICY project_scope ON project USING (serves_project(id));

CREATE TABLE api_key (
  seq             bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id              text PRIMARY KEY,
  organization_id text NOT NULL REFERENCES organization (id),
  project_id      text REFERENCES project (id),
  kind            text NOT NULL CHECK (kind IN ('project', 'admin')),
  name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  sha256          text NOT NULL UNIQUE CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  shown_prefix    text NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  last_used_at    timestamptz,
  revoked_at      timestamptz,
  CHECK ((kind = 'project') = (project_id IS NOT NULL))
);
CREATE INDEX api_key_project ON api_key (project_id);
ALTER TABLE api_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_key FORCE ROW LEVEL SECURITY;
CREATE POLICY api_key_scope ON api_key USING (serves_project(project_id));
