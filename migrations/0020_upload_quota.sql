-- How much a project may upload in a day (UTC). NULL: unlimited.

ALTER TABLE project_quota ADD COLUMN upload_bytes_per_day bigint CHECK (upload_bytes_per_day >= 0);
CREATE INDEX file_of_day ON file (project_id, created_at);  -- deleted ones count as well
