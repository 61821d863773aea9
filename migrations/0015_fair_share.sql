-- Fair share between projects (storage/fair_share.h): whose turn it is, what a run was charged, who works, and how fast.

-- priority: of a job among its project's own. turn_at: its place among those that wait, by which the least goes first.
-- share_tokens, share_cost: what the present run was charged, in tokens and in virtual time; given back in part at its end.
ALTER TABLE job
  ADD COLUMN priority             smallint NOT NULL DEFAULT 0 CHECK (priority BETWEEN -10 AND 10),
  ADD COLUMN turn_at              timestamptz,
  ADD COLUMN claimed_at           timestamptz,
  ADD COLUMN share_tokens         bigint CHECK (share_tokens > 0),
  ADD COLUMN share_cost           numeric CHECK (share_cost >= 0),
  ADD COLUMN preempt_requested_at timestamptz,
  ADD COLUMN preempted_at         timestamptz,
  ADD CHECK ((share_tokens IS NULL) = (share_cost IS NULL));
UPDATE job SET turn_at = queued_at;
ALTER TABLE job ADD CHECK (state <> 'queued' OR turn_at IS NOT NULL);
CREATE INDEX job_turn ON job (project_id, turn_at, seq) WHERE state = 'queued';
CREATE INDEX job_running ON job (project_id) WHERE state = 'running';

-- tag: the virtual time at which the project's next run begins. served_at: when one of its runs last began or ended.
CREATE TABLE project_share (
  project_id text PRIMARY KEY REFERENCES project (id),
  tag        numeric NOT NULL,
  served_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE project_share ENABLE ROW LEVEL SECURITY;
ALTER TABLE project_share FORCE ROW LEVEL SECURITY;
CREATE POLICY project_share_scope ON project_share USING (serves_project(project_id));

-- One row: the virtual time, at which the run that was begun last began.
CREATE TABLE share_clock (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  tag numeric NOT NULL
);
INSERT INTO share_clock (tag) VALUES (0);

-- Who trains. A worker that waits says so again and again; one that trains is seen by its job's lease.
CREATE TABLE worker (
  name       text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 400),
  device     text NOT NULL CHECK (length(device) BETWEEN 1 AND 100),
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- How fast runs of late were, from their claim to their end: each counts four fifths of the one after it.
CREATE TABLE training_speed (
  base_model text NOT NULL REFERENCES base_model (name),
  device     text NOT NULL,
  tokens     double precision NOT NULL CHECK (tokens > 0),
  seconds    double precision NOT NULL CHECK (seconds > 0),
  PRIMARY KEY (base_model, device)
);

-- The one place that every run's end passes, whoever ends it. Tokens that the run was charged for and that it did not train,
-- or that are lost with it, are given back to its project; those that it did train tell how fast its worker is.
CREATE FUNCTION end_run() RETURNS trigger LANGUAGE plpgsql
AS $$
DECLARE
  reached bigint := CASE WHEN NEW.state IN ('queued', 'paused') THEN NEW.state_tokens
                         ELSE coalesce(NEW.trained_tokens, OLD.trained_tokens) END;
  -- From where the run began: state_tokens may have moved on while it ran.
  trained bigint := greatest(0, coalesce(reached, 0) - (OLD.quoted_tokens - OLD.share_tokens));
BEGIN
  UPDATE project_share SET served_at = clock_timestamp(),
         tag = tag - coalesce(OLD.share_cost * (1 - least(1, trained::numeric / OLD.share_tokens)), 0)
   WHERE project_id = OLD.project_id;
  -- Not of a sweep's jobs, of which one transaction ends several: it would lock these rows in any order.
  IF trained > 0 AND NEW.state IN ('succeeded', 'queued', 'paused') AND NEW.attempts = OLD.attempts
     AND clock_timestamp() > OLD.claimed_at THEN
    INSERT INTO training_speed (base_model, device, tokens, seconds)
    SELECT OLD.base_model, w.device, trained, extract(epoch FROM clock_timestamp() - OLD.claimed_at)
      FROM worker w WHERE w.name = OLD.worker
    ON CONFLICT (base_model, device) DO UPDATE
      SET tokens = 0.8 * training_speed.tokens + excluded.tokens, seconds = 0.8 * training_speed.seconds + excluded.seconds;
  END IF;
  IF OLD.preempt_requested_at IS NOT NULL AND NEW.state = 'queued' THEN NEW.preempted_at := clock_timestamp(); END IF;
  NEW.claimed_at := NULL;
  NEW.share_tokens := NULL;
  NEW.share_cost := NULL;
  NEW.preempt_requested_at := NULL;
  RETURN NEW;
END $$;

CREATE TRIGGER job_run_ends BEFORE UPDATE OF state ON job FOR EACH ROW
  WHEN (OLD.state = 'running' AND NEW.state <> 'running') EXECUTE FUNCTION end_run();
