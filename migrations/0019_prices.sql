-- Prices of an organization of its own, beside the platform's (organization_id NULL), which hold where it has none.

ALTER TABLE price
  ADD COLUMN organization_id text REFERENCES organization (id),
  DROP CONSTRAINT price_base_model_method_valid_from_key,
  ADD UNIQUE NULLS NOT DISTINCT (organization_id, base_model, method, valid_from);

-- A project sees what it may be charged: the platform's prices and its organization's.
ALTER TABLE price ENABLE ROW LEVEL SECURITY;
ALTER TABLE price FORCE ROW LEVEL SECURITY;
CREATE POLICY price_scope ON price USING (organization_id IS NULL OR serves_project(NULL)
  OR organization_id = (SELECT p.organization_id FROM project p WHERE p.id = current_setting('finetuned.project_id', true)))
  WITH CHECK (serves_project(NULL));
