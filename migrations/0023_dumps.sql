-- What pg_dump needs, by which a backup is made.

-- As it was, its table being bound now and not looked up on each call: pg_dump looks nothing up.
CREATE OR REPLACE FUNCTION is_permitted(wanted text) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM checkpoint_permission p WHERE p.model = wanted AND p.deleted_at IS NULL
                AND p.project_id = current_setting('finetuned.project_id', true));
