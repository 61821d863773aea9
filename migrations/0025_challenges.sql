-- Challenges: what a better recipe is worth, who submitted one, and what its verification measured (billing/contributions.h).

-- A challenge is its sponsor's row and a contribution its project's; what everybody may see of them, the gateway shows
-- (challenge_shapes.h).
-- project_id: the sponsor, whose files are trained on and whose account pays for the runs. Recipes: resolved hyperparameters.
CREATE TABLE challenge (
  seq             bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id              text PRIMARY KEY,
  organization_id text NOT NULL REFERENCES organization (id),
  project_id      text NOT NULL REFERENCES project (id),
  name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  description     text CHECK (length(description) BETWEEN 1 AND 2000),
  base_model      text NOT NULL REFERENCES base_model (name),
  training_file   text NOT NULL REFERENCES file (id),
  validation_file text NOT NULL REFERENCES file (id),
  metric          text NOT NULL CHECK (metric IN ('valid_loss', 'valid_mean_token_accuracy')),
  token_budget    bigint NOT NULL CHECK (token_budget > 0),
  seeds           bigint[] NOT NULL CHECK (cardinality(seeds) BETWEEN 3 AND 20),
  reward_micro    bigint NOT NULL CHECK (reward_micro > 0),
  target          double precision NOT NULL,
  margin          double precision NOT NULL CHECK (margin >= 0),
  incumbent       jsonb NOT NULL,
  incumbent_id    text,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  closed_at       timestamptz
);
ALTER TABLE challenge ENABLE ROW LEVEL SECURITY;
ALTER TABLE challenge FORCE ROW LEVEL SECURITY;
CREATE POLICY challenge_scope ON challenge USING (serves_project(project_id));

-- queued -> running -> won | lost | rejected | failed; won -> confirming -> won, where confirmation was asked for.
-- against: the incumbent's recipe when the verification began. escrow_micro: the part of the award that waits for vests_at or
-- for a confirmation, until vested_at or forfeited_at. round: 1, and 2 for the confirmation.
CREATE TABLE contribution (
  seq               bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  id                text PRIMARY KEY,
  challenge_id      text NOT NULL REFERENCES challenge (id),
  project_id        text NOT NULL REFERENCES project (id),
  recipe            jsonb NOT NULL,
  note              text CHECK (length(note) BETWEEN 1 AND 500),
  state             text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'won', 'confirming', 'lost', 'rejected', 'failed')),
  reason            text,
  created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  decided_at        timestamptz,
  against           jsonb,
  against_id        text,
  round             int NOT NULL DEFAULT 1 CHECK (round IN (1, 2)),
  incumbent_mean    double precision,
  contribution_mean double precision,
  p_value           double precision,
  award_micro       bigint NOT NULL DEFAULT 0 CHECK (award_micro >= 0),
  escrow_micro      bigint NOT NULL DEFAULT 0 CHECK (escrow_micro BETWEEN 0 AND award_micro),
  vests_at          timestamptz,
  confirm_asked_at  timestamptz,
  vested_at         timestamptz,
  forfeited_at      timestamptz,
  CHECK ((state IN ('queued', 'running')) = (decided_at IS NULL)),
  CHECK (vested_at IS NULL OR forfeited_at IS NULL)
);
ALTER TABLE challenge ADD FOREIGN KEY (incumbent_id) REFERENCES contribution (id);
CREATE INDEX contribution_of_challenge ON contribution (challenge_id, seq);
CREATE INDEX contribution_of_project ON contribution (project_id, seq);
CREATE INDEX contribution_open ON contribution (seq) WHERE state IN ('queued', 'running', 'confirming');
CREATE INDEX contribution_to_vest ON contribution (vests_at) WHERE state = 'won' AND vested_at IS NULL AND forfeited_at IS NULL;
-- One verification of a challenge at a time: what it is compared with stands still.
CREATE UNIQUE INDEX contribution_under_way ON contribution (challenge_id) WHERE state IN ('running', 'confirming');
ALTER TABLE contribution ENABLE ROW LEVEL SECURITY;
ALTER TABLE contribution FORCE ROW LEVEL SECURITY;
CREATE POLICY contribution_scope ON contribution USING (serves_project(project_id));

-- One training of a verification. value: the metric as the platform measured it, NULL with a problem where there is none.
CREATE TABLE contribution_run (
  seq             bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  contribution_id text NOT NULL REFERENCES contribution (id),
  round           int NOT NULL,
  seed            bigint NOT NULL,
  side            text NOT NULL CHECK (side IN ('contribution', 'incumbent')),
  job_id          text REFERENCES job (id),
  attempts        int NOT NULL DEFAULT 0,
  measured_at     timestamptz,
  value           double precision,
  problem         text,
  curve           jsonb,
  PRIMARY KEY (contribution_id, round, seed, side),
  CHECK (measured_at IS NULL OR (value IS NULL) = (problem IS NOT NULL))
);
CREATE INDEX contribution_run_open ON contribution_run (seq) WHERE measured_at IS NULL;
ALTER TABLE contribution_run ENABLE ROW LEVEL SECURITY;
ALTER TABLE contribution_run FORCE ROW LEVEL SECURITY;
CREATE POLICY contribution_run_scope ON contribution_run USING (serves_project(NULL));
