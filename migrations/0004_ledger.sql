-- Prices, and the double-entry ledger in two phases. Amounts are int64 nano-dollars.
--
-- A project has three accounts: `prepaid` (what it may spend: never overdrawn), `revenue` (what it paid us) and
-- `funding` (where its credits came from). One set a project: no row is locked by two projects' jobs.

CREATE EXTENSION IF NOT EXISTS btree_gist;

CREATE TABLE price (
  version     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  base_model  text REFERENCES base_model (name),  -- NULL: every model without a price of its own
  method      text NOT NULL,
  nano_per_1k bigint NOT NULL CHECK (nano_per_1k >= 0),
  valid_from  timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE NULLS NOT DISTINCT (base_model, method, valid_from)
);
INSERT INTO price (method, nano_per_1k, valid_from) VALUES ('supervised', 1000000, '2026-01-01 00:00:00+00');
CREATE TRIGGER price_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON price
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE job ADD FOREIGN KEY (price_version) REFERENCES price (version);

CREATE TABLE account (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project_id      text NOT NULL REFERENCES project (id),
  ledger          text NOT NULL CHECK (ledger IN ('USD_NANO', 'POINTS_MICRO')),
  kind            text NOT NULL CHECK (kind IN ('prepaid', 'revenue', 'funding')),
  no_overdraft    boolean NOT NULL,
  debits_pending  bigint NOT NULL DEFAULT 0 CHECK (debits_pending >= 0),
  debits_posted   bigint NOT NULL DEFAULT 0 CHECK (debits_posted >= 0),
  credits_pending bigint NOT NULL DEFAULT 0 CHECK (credits_pending >= 0),
  credits_posted  bigint NOT NULL DEFAULT 0 CHECK (credits_posted >= 0),
  UNIQUE (project_id, ledger, kind),
  CONSTRAINT account_overdraft CHECK (NOT no_overdraft OR debits_posted + debits_pending <= credits_posted)
);
ALTER TABLE account ENABLE ROW LEVEL SECURITY;
ALTER TABLE account FORCE ROW LEVEL SECURITY;
CREATE POLICY account_scope ON account USING (serves_project(project_id));

CREATE TABLE transfer (
  seq           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id            uuid PRIMARY KEY,
  project_id    text NOT NULL REFERENCES project (id),
  ledger        text NOT NULL CHECK (ledger IN ('USD_NANO', 'POINTS_MICRO')),
  debit_id      bigint NOT NULL REFERENCES account (id),
  credit_id     bigint NOT NULL REFERENCES account (id),
  amount        bigint NOT NULL CHECK (amount > 0),
  kind          text NOT NULL CHECK (kind IN ('single', 'pending', 'post', 'void', 'expire', 'correction')),
  pending_id    uuid REFERENCES transfer (id),
  corrects_id   uuid REFERENCES transfer (id),
  job_id        text REFERENCES job (id),
  price_version bigint REFERENCES price (version),
  reason        text NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  CHECK (debit_id <> credit_id),
  CHECK ((kind IN ('post', 'void', 'expire')) = (pending_id IS NOT NULL)),
  CHECK ((kind = 'correction') = (corrects_id IS NOT NULL))
);
CREATE UNIQUE INDEX transfer_resolves_once ON transfer (pending_id) WHERE kind IN ('post', 'void', 'expire');
CREATE INDEX transfer_of_project ON transfer (project_id, seq);
CREATE INDEX transfer_of_job ON transfer (job_id);
CREATE TRIGGER transfer_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transfer
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE transfer ENABLE ROW LEVEL SECURITY;
ALTER TABLE transfer FORCE ROW LEVEL SECURITY;
CREATE POLICY transfer_scope ON transfer USING (serves_project(project_id));

ALTER TABLE job ADD FOREIGN KEY (hold_transfer_id) REFERENCES transfer (id);

-- steps [a, b): a step of a job is billed once, whoever redoes it.
CREATE TABLE usage (
  seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id      text NOT NULL REFERENCES job (id),
  project_id  text NOT NULL REFERENCES project (id),
  metric      text NOT NULL CHECK (metric IN ('trained_tokens')),
  steps       int8range NOT NULL CHECK (NOT isempty(steps) AND NOT lower_inf(steps) AND NOT upper_inf(steps)),
  tokens_cum  bigint NOT NULL CHECK (tokens_cum >= 0),
  lease_epoch bigint NOT NULL,
  transfer_id uuid NOT NULL REFERENCES transfer (id),
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT usage_step_billed_once EXCLUDE USING gist (job_id WITH =, metric WITH =, steps WITH &&)
);
CREATE TRIGGER usage_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON usage
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage FORCE ROW LEVEL SECURITY;
CREATE POLICY usage_scope ON usage USING (serves_project(project_id));

-- The metering role's checks, one row each.
CREATE TABLE reconciliation (
  seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  started_at  timestamptz NOT NULL,
  finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  settled     bigint NOT NULL,
  faults      bigint NOT NULL,
  details     jsonb NOT NULL
);
