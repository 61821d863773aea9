-- Uploads that come in parts, files that expire, and the objects that these leave behind.

-- file_expires_seconds: of the file that the upload becomes, from that file's creation.
-- completing_*: who puts the parts together has a lease; its commit names the epoch.
-- parts_sha256: of the part ids that were put together, so that a repeated request gets the same answer.
CREATE TABLE upload (
  seq                  bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id                   text PRIMARY KEY,
  project_id           text NOT NULL REFERENCES project (id),
  purpose              text NOT NULL CHECK (purpose IN ('fine-tune', 'assistants', 'batch', 'vision', 'user_data', 'evals')),
  filename             text NOT NULL CHECK (length(filename) BETWEEN 1 AND 1024),
  mime_type            text NOT NULL CHECK (length(mime_type) BETWEEN 1 AND 256),
  bytes                bigint NOT NULL CHECK (bytes BETWEEN 1 AND 8589934592),
  file_expires_seconds bigint CHECK (file_expires_seconds BETWEEN 3600 AND 2592000),
  status               text NOT NULL CHECK (status IN ('pending', 'completed', 'cancelled', 'expired')),
  created_at           timestamptz NOT NULL,
  expires_at           timestamptz NOT NULL CHECK (expires_at > created_at),
  ended_at             timestamptz,
  completing_epoch     bigint NOT NULL DEFAULT 0,
  completing_until     timestamptz,
  parts_sha256         text CHECK (parts_sha256 ~ '^[0-9a-f]{64}$'),
  file_id              text REFERENCES file (id),
  CHECK ((status = 'pending') = (ended_at IS NULL)),
  CHECK ((status = 'completed') = (file_id IS NOT NULL)),
  CHECK ((status = 'completed') = (parts_sha256 IS NOT NULL))
);
CREATE INDEX upload_expiry ON upload (expires_at) WHERE status = 'pending';
CREATE INDEX upload_pending ON upload (project_id) WHERE status = 'pending';
ALTER TABLE upload ENABLE ROW LEVEL SECURITY;
ALTER TABLE upload FORCE ROW LEVEL SECURITY;
CREATE POLICY upload_scope ON upload USING (serves_project(project_id));

CREATE TABLE upload_part (
  seq        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id         text PRIMARY KEY,
  upload_id  text NOT NULL REFERENCES upload (id),
  project_id text NOT NULL REFERENCES project (id),
  bytes      bigint NOT NULL CHECK (bytes BETWEEN 1 AND 67108864),
  object_id  text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX upload_part_of_upload ON upload_part (upload_id);
ALTER TABLE upload_part ENABLE ROW LEVEL SECURITY;
ALTER TABLE upload_part FORCE ROW LEVEL SECURITY;
CREATE POLICY upload_part_scope ON upload_part USING (serves_project(project_id));

-- Objects that are to be removed from the store once they are due: what no row names any more, and what is being
-- written, until the commit that names it takes it off this list.
CREATE TABLE object_removal (
  object_id  text PRIMARY KEY,
  project_id text NOT NULL REFERENCES project (id),
  due_at     timestamptz NOT NULL
);
CREATE INDEX object_removal_due ON object_removal (due_at);
ALTER TABLE object_removal ENABLE ROW LEVEL SECURITY;
ALTER TABLE object_removal FORCE ROW LEVEL SECURITY;
CREATE POLICY object_removal_scope ON object_removal USING (serves_project(project_id));

CREATE INDEX file_expiry ON file (expires_at) WHERE deleted_at IS NULL AND expires_at IS NOT NULL;
