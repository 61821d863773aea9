-- Workers that somebody donates: what they earned, half of it escrowed until a part of what they did was run again
-- (billing/donations.h, docs/contributing-compute.md).

-- What a worker's machine is called (its host name), whatever process it is just now, and what computes there: the program, its compiler and
-- the class of its device, as SHA-256 (training::engine_sha256). The same engine gives the same bits.
ALTER TABLE worker
  ADD COLUMN known_as text CHECK (length(known_as) BETWEEN 1 AND 253),
  ADD COLUMN engine   text CHECK (engine ~ '^[0-9a-f]{64}$');

-- Every name that was ever donated; others are the operator's own. project_id: who earns. Withdrawn or stopped, it gets no job.
CREATE TABLE donated_worker (
  name         text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 253),
  project_id   text NOT NULL REFERENCES project (id),
  donated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  withdrawn_at timestamptz,
  stopped_at   timestamptz,
  stop_reason  text,
  CHECK ((stopped_at IS NULL) = (stop_reason IS NULL))
);
ALTER TABLE donated_worker ENABLE ROW LEVEL SECURITY;
ALTER TABLE donated_worker FORCE ROW LEVEL SECURITY;
CREATE POLICY donated_worker_scope ON donated_worker USING (serves_project(NULL));

-- A donated worker's part in a job: one lease. project_id is the job's, donor_id the project that earns. first_*: where it
-- began, step 0 being the job's beginning. micro_batch_tokens, recompute: how its run was laid out, which decides its bits.
-- earned_micro: of what it did, escrow_micro of that waiting until the stretch is decided: vested, or forfeited.
CREATE TABLE donated_stretch (
  seq                bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id                 text PRIMARY KEY,
  job_id             text NOT NULL REFERENCES job (id),
  project_id         text NOT NULL REFERENCES project (id),
  lease_epoch        bigint NOT NULL,
  worker             text NOT NULL REFERENCES donated_worker (name),
  donor_id           text NOT NULL REFERENCES project (id),
  engine             text NOT NULL CHECK (engine ~ '^[0-9a-f]{64}$'),
  began_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
  first_step         bigint NOT NULL CHECK (first_step >= 0),
  first_tokens       bigint NOT NULL CHECK (first_tokens >= 0),
  first_object       text,
  micro_batch_tokens bigint CHECK (micro_batch_tokens > 0),
  recompute          boolean,
  tokens             bigint NOT NULL DEFAULT 0 CHECK (tokens >= 0),
  earned_micro       bigint NOT NULL DEFAULT 0 CHECK (earned_micro >= 0),
  escrow_micro       bigint NOT NULL DEFAULT 0 CHECK (escrow_micro BETWEEN 0 AND earned_micro),
  decided_at         timestamptz,
  outcome            text CHECK (outcome IN ('vested', 'forfeited', 'nothing')),
  verdict_id         uuid REFERENCES transfer (id),
  UNIQUE (job_id, lease_epoch),
  CHECK ((first_step = 0) = (first_object IS NULL)),
  CHECK ((decided_at IS NULL) = (outcome IS NULL))
);
CREATE INDEX donated_stretch_open ON donated_stretch (worker, seq) WHERE decided_at IS NULL;
CREATE INDEX donated_stretch_first ON donated_stretch (first_object) WHERE decided_at IS NULL AND first_object IS NOT NULL;
ALTER TABLE donated_stretch ENABLE ROW LEVEL SECURITY;
ALTER TABLE donated_stretch FORCE ROW LEVEL SECURITY;
CREATE POLICY donated_stretch_scope ON donated_stretch USING (serves_project(project_id));

-- What was paid for: steps [a, b) of a job, whose tokens_to - tokens_from tokens earned prepaid_micro + escrow_micro. A step
-- earns once, but for one whose worker forfeited it and that another took again.
CREATE TABLE donated_work (
  seq           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stretch_id    text NOT NULL REFERENCES donated_stretch (id),
  job_id        text NOT NULL REFERENCES job (id),
  project_id    text NOT NULL REFERENCES project (id),
  steps         int8range NOT NULL CHECK (NOT isempty(steps) AND NOT lower_inf(steps) AND NOT upper_inf(steps)),
  tokens_from   bigint NOT NULL CHECK (tokens_from >= 0),
  tokens_to     bigint NOT NULL CHECK (tokens_to >= tokens_from),
  prepaid_micro bigint NOT NULL CHECK (prepaid_micro >= 0),
  escrow_micro  bigint NOT NULL CHECK (escrow_micro >= 0),
  prepaid_id    uuid REFERENCES transfer (id),
  escrow_id     uuid REFERENCES transfer (id),
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  forfeited     boolean NOT NULL DEFAULT false,
  CHECK ((prepaid_micro = 0) = (prepaid_id IS NULL)),
  CHECK ((escrow_micro = 0) = (escrow_id IS NULL)),
  CONSTRAINT donated_step_earns_once EXCLUDE USING gist (job_id WITH =, steps WITH &&) WHERE (NOT forfeited)
);
CREATE INDEX donated_work_of_stretch ON donated_work (stretch_id);
ALTER TABLE donated_work ENABLE ROW LEVEL SECURITY;
ALTER TABLE donated_work FORCE ROW LEVEL SECURITY;
CREATE POLICY donated_work_scope ON donated_work USING (serves_project(project_id));

-- Of a row that says what was done, only `may` may change.
CREATE FUNCTION refuse_change_but() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN
  IF TG_OP = 'UPDATE' AND to_jsonb(OLD) - TG_ARGV[0] = to_jsonb(NEW) - TG_ARGV[0] THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'of a row of % only % changes', TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER donated_work_stands BEFORE UPDATE OR DELETE ON donated_work
  FOR EACH ROW EXECUTE FUNCTION refuse_change_but('forfeited');

-- What a donated worker said of its run, in the commit that it said it in (storage/donation_evidence.h). object_id: of a state,
-- while it is kept.
CREATE TABLE donated_evidence (
  stretch_id     text NOT NULL REFERENCES donated_stretch (id),
  job_id         text NOT NULL REFERENCES job (id),
  project_id     text NOT NULL REFERENCES project (id),
  kind           text NOT NULL CHECK (kind IN ('state', 'checkpoint', 'result')),
  step           bigint NOT NULL CHECK (step > 0),
  trained_tokens bigint NOT NULL CHECK (trained_tokens >= 0),
  sha256         text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  object_id      text CHECK (object_id IS NULL OR kind = 'state'),
  created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stretch_id, step, kind)
);
CREATE INDEX donated_evidence_object ON donated_evidence (object_id) WHERE object_id IS NOT NULL;
CREATE TRIGGER donated_evidence_stands BEFORE UPDATE OR DELETE ON donated_evidence
  FOR EACH ROW EXECUTE FUNCTION refuse_change_but('object_id');
ALTER TABLE donated_evidence ENABLE ROW LEVEL SECURITY;
ALTER TABLE donated_evidence FORCE ROW LEVEL SECURITY;
CREATE POLICY donated_evidence_scope ON donated_evidence USING (serves_project(project_id));

-- The re-run of some steps of a stretch (storage/recheck_store.h): those behind from_step up to and with to_step, drawn by seed.
CREATE TABLE donated_check (
  id          text PRIMARY KEY,
  stretch_id  text NOT NULL UNIQUE REFERENCES donated_stretch (id),
  engine      text NOT NULL CHECK (engine ~ '^[0-9a-f]{64}$'),
  seed        bigint NOT NULL CHECK (seed >= 0),
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  from_step   bigint NOT NULL CHECK (from_step >= 0),
  to_step     bigint NOT NULL CHECK (to_step >= from_step),
  state       text NOT NULL CHECK (state IN ('waiting', 'running', 'agreed', 'disagreed', 'given_up', 'settled', 'dropped')),
  checker     text,
  lease_epoch bigint NOT NULL DEFAULT 0,
  lease_until timestamptz,
  attempts    int NOT NULL DEFAULT 0,
  decided_at  timestamptz,
  detail      text,
  CHECK ((state = 'running') = (lease_until IS NOT NULL))
);
CREATE INDEX donated_check_waiting ON donated_check (engine, created_at) WHERE state = 'waiting';
CREATE INDEX donated_check_leases ON donated_check (lease_until) WHERE state = 'running';
ALTER TABLE donated_check ENABLE ROW LEVEL SECURITY;
ALTER TABLE donated_check FORCE ROW LEVEL SECURITY;
CREATE POLICY donated_check_scope ON donated_check USING (serves_project(NULL));

-- A job whose worker's training was not confirmed goes back: events up to told_from tell of steps that are taken anew, and a
-- checkpoint that is not to be trusted has no objects any more, until the step is committed again.
ALTER TABLE job ADD COLUMN told_from bigint NOT NULL DEFAULT 0;
ALTER TABLE job_checkpoint ADD COLUMN distrusted_at timestamptz;
