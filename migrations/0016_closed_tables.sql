-- Row-level security for the two tables that had none but say who there is and how the books stand.

-- A project's transaction sees its own organization; the system sees and makes all.
ALTER TABLE organization ENABLE ROW LEVEL SECURITY;
ALTER TABLE organization FORCE ROW LEVEL SECURITY;
CREATE POLICY organization_scope ON organization USING (serves_project(NULL));
CREATE POLICY organization_own ON organization FOR SELECT
  USING (id = (SELECT p.organization_id FROM project p WHERE p.id = current_setting('finetuned.project_id', true)));

ALTER TABLE reconciliation ENABLE ROW LEVEL SECURITY;
ALTER TABLE reconciliation FORCE ROW LEVEL SECURITY;
CREATE POLICY reconciliation_scope ON reconciliation USING (serves_project(NULL));
