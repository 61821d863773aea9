-- Base models (every project sees them), uploaded and made files, and what intake found out about them.

CREATE TABLE base_model (
  seq                   bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  name                  text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$'),
  family                text NOT NULL,
  parameters            bigint NOT NULL CHECK (parameters > 0),
  context               bigint NOT NULL CHECK (context > 0),
  tokenizer_fingerprint text NOT NULL,
  sha256                text NOT NULL,
  directory             text NOT NULL,
  created_at            timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE file (
  seq            bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id             text PRIMARY KEY,
  project_id     text NOT NULL REFERENCES project (id),
  purpose        text NOT NULL CHECK (purpose IN ('fine-tune', 'fine-tune-results', 'assistants', 'batch', 'vision',
                                                  'user_data', 'evals')),
  filename       text NOT NULL CHECK (length(filename) BETWEEN 1 AND 1024),
  bytes          bigint NOT NULL CHECK (bytes >= 0),
  sha256         text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  object_id      text NOT NULL,
  status         text NOT NULL CHECK (status IN ('uploaded', 'processed', 'error')),
  status_details text,
  created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at     timestamptz,
  deleted_at     timestamptz,
  intake_owner   text,
  intake_epoch   bigint NOT NULL DEFAULT 0,
  intake_until   timestamptz,
  intake_attempts int NOT NULL DEFAULT 0
);
CREATE INDEX file_of_project ON file (project_id, seq) WHERE deleted_at IS NULL;
CREATE INDEX file_waiting ON file (seq) WHERE status = 'uploaded' AND deleted_at IS NULL;
CREATE INDEX file_object ON file (object_id);
ALTER TABLE file ENABLE ROW LEVEL SECURITY;
ALTER TABLE file FORCE ROW LEVEL SECURITY;
CREATE POLICY file_scope ON file USING (serves_project(project_id));

CREATE TABLE file_report (
  file_id    text PRIMARY KEY REFERENCES file (id),
  project_id text NOT NULL REFERENCES project (id),
  report     jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE file_report ENABLE ROW LEVEL SECURITY;
ALTER TABLE file_report FORCE ROW LEVEL SECURITY;
CREATE POLICY file_report_scope ON file_report USING (serves_project(project_id));

-- row_tokens: one little-endian uint32 a row, in file order, so that the tokens under any cut are exact.
CREATE TABLE file_tokens (
  file_id               text NOT NULL REFERENCES file (id),
  tokenizer_fingerprint text NOT NULL,
  project_id            text NOT NULL REFERENCES project (id),
  row_count             bigint NOT NULL CHECK (row_count >= 0),
  tokens                bigint NOT NULL CHECK (tokens >= 0),
  supervised_tokens     bigint NOT NULL CHECK (supervised_tokens BETWEEN 0 AND tokens),
  longest_tokens        bigint NOT NULL CHECK (longest_tokens >= 0),
  longest_line          bigint NOT NULL,
  row_tokens            bytea NOT NULL,
  error_code            text,
  error_message         text,
  created_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (file_id, tokenizer_fingerprint),
  CHECK (octet_length(row_tokens) = 4 * row_count)
);
ALTER TABLE file_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE file_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY file_tokens_scope ON file_tokens USING (serves_project(project_id));
