-- Fine-tuned models and checkpoints that an organization's administrators let other projects of it use.

CREATE TABLE checkpoint_permission (
  seq             bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id              text PRIMARY KEY,
  organization_id text NOT NULL REFERENCES organization (id),
  model           text NOT NULL CHECK (length(model) BETWEEN 1 AND 400),
  project_id      text NOT NULL REFERENCES project (id),  -- who may use it
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  deleted_at      timestamptz
);
CREATE UNIQUE INDEX checkpoint_permission_once ON checkpoint_permission (model, project_id) WHERE deleted_at IS NULL;
CREATE INDEX checkpoint_permission_of_model ON checkpoint_permission (organization_id, model, seq);
CREATE INDEX checkpoint_permission_of_project ON checkpoint_permission (project_id) WHERE deleted_at IS NULL;
ALTER TABLE checkpoint_permission ENABLE ROW LEVEL SECURITY;
ALTER TABLE checkpoint_permission FORCE ROW LEVEL SECURITY;
CREATE POLICY checkpoint_permission_scope ON checkpoint_permission USING (serves_project(project_id));

CREATE FUNCTION is_permitted(wanted text) RETURNS boolean LANGUAGE sql STABLE
AS $$ SELECT EXISTS (SELECT FROM checkpoint_permission p WHERE p.model = wanted AND p.deleted_at IS NULL
                       AND p.project_id = current_setting('finetuned.project_id', true)) $$;

-- A permitted model can be seen; only its own project can change it.
CREATE POLICY fine_tuned_model_permitted ON fine_tuned_model FOR SELECT USING (is_permitted(name));

-- What it takes to run a model that the transaction's project is permitted to use. It looks at rows of the model's own
-- project, which stay closed to the other one: hence the scope, for these queries alone. No row: not permitted.
CREATE FUNCTION permitted_model(wanted text) RETURNS TABLE (base_model text, objects jsonb, sha256 jsonb)
LANGUAGE plpgsql
AS $$
DECLARE
  scope text := coalesce(current_setting('finetuned.scope', true), '');
BEGIN
  IF NOT is_permitted(wanted) THEN
    RETURN;
  END IF;
  PERFORM set_config('finetuned.scope', 'system', true);
  RETURN QUERY
    SELECT m.base_model, m.objects,
           (SELECT coalesce(jsonb_object_agg(o.key, f.sha256), '{}') FROM jsonb_each_text(m.objects) o
              CROSS JOIN LATERAL (SELECT file.sha256 FROM file WHERE file.object_id = o.value LIMIT 1) f)
      FROM fine_tuned_model m WHERE m.name = wanted AND m.deleted_at IS NULL;
  RETURN QUERY
    SELECT j.base_model, c.objects, c.sha256
      FROM job_checkpoint c JOIN job j ON j.id = c.job_id WHERE c.model_name = wanted;
  PERFORM set_config('finetuned.scope', scope, true);
END $$;
