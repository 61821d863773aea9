-- A job that goes back behind what a donated worker trained (billing/donation_verdicts.h, docs/contributing-compute.md).

-- Since when nothing of a stretch is in its job any more, which went back behind it because of an earlier one. It is checked, and
-- paid for, all the same; its job is not touched by what comes of that.
ALTER TABLE donated_stretch ADD COLUMN superseded_at timestamptz;

-- The work of such a stretch stays paid, and its steps earn again for who takes them again.
ALTER TABLE donated_work ADD COLUMN superseded boolean NOT NULL DEFAULT false;
ALTER TABLE donated_work DROP CONSTRAINT donated_step_earns_once;
ALTER TABLE donated_work ADD CONSTRAINT donated_step_earns_once EXCLUDE USING gist (job_id WITH =, steps WITH &&)
  WHERE (NOT forfeited AND NOT superseded);

-- Of a row that says what was done, only what the arguments name may change.
CREATE OR REPLACE FUNCTION refuse_change_but() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN
  IF TG_OP = 'UPDATE' AND to_jsonb(OLD) - TG_ARGV = to_jsonb(NEW) - TG_ARGV THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'of a row of % only % changes', TG_TABLE_NAME, array_to_string(TG_ARGV, ', ')
    USING ERRCODE = 'integrity_constraint_violation';
END $$;
DROP TRIGGER donated_work_stands ON donated_work;
CREATE TRIGGER donated_work_stands BEFORE UPDATE OR DELETE ON donated_work
  FOR EACH ROW EXECUTE FUNCTION refuse_change_but('forfeited', 'superseded');

-- Of the steps that a job has booked, how many stand, and the tokens to their end: those behind them were distrusted, and are taken
-- again. NULL: it never went back, and all stand.
ALTER TABLE job
  ADD COLUMN standing_steps  bigint CHECK (standing_steps >= 0),
  ADD COLUMN standing_tokens bigint CHECK (standing_tokens >= 0),
  ADD CHECK ((standing_steps IS NULL) = (standing_tokens IS NULL));
UPDATE job SET standing_steps = coalesce(c.step, 0), standing_tokens = coalesce(c.tokens, 0)
  FROM (SELECT job_id, max(step) FILTER (WHERE distrusted_at IS NULL) AS step,
               max(trained_tokens) FILTER (WHERE distrusted_at IS NULL) AS tokens
          FROM job_checkpoint GROUP BY job_id HAVING bool_or(distrusted_at IS NOT NULL)) c
 WHERE c.job_id = job.id AND job.finished_at IS NULL;

-- What is left of a job that has not ended since it went back: nothing of stretches that began before that and later than the false
-- one, or earlier, but no earlier in the job.
UPDATE donated_stretch s SET superseded_at = f.decided_at
  FROM (SELECT s.id, min(gone.decided_at) AS decided_at FROM donated_stretch s JOIN job j ON j.id = s.job_id JOIN donated_stretch gone
          ON gone.job_id = s.job_id AND gone.outcome = 'forfeited' AND gone.id <> s.id AND s.began_at < gone.decided_at
         AND (s.lease_epoch > gone.lease_epoch OR s.first_step >= gone.first_step)
         WHERE j.finished_at IS NULL GROUP BY s.id) f
 WHERE f.id = s.id;
UPDATE donated_work SET superseded = true WHERE stretch_id IN (SELECT id FROM donated_stretch WHERE superseded_at IS NOT NULL);

-- The operator's own machines, by their host names, from the first donated one on: a machine that is neither gets no jobs. Those that
-- trained, checked or exported beside donated ones until now are: a worker that ended properly has no row in worker any more.
CREATE TABLE own_worker (
  name  text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 253),
  since timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE own_worker ENABLE ROW LEVEL SECURITY;
ALTER TABLE own_worker FORCE ROW LEVEL SECURITY;
CREATE POLICY own_worker_scope ON own_worker USING (serves_project(NULL));
INSERT INTO own_worker (name)
  SELECT DISTINCT name FROM (
    SELECT known_as AS name FROM worker
    UNION SELECT regexp_replace(worker, ':[^:]*$', '') FROM job WHERE worker IS NOT NULL
    UNION SELECT regexp_replace(checker, ':[^:]*$', '') FROM donated_check WHERE checker IS NOT NULL
    UNION SELECT regexp_replace(worker, ':[^:]*$', '') FROM model_export WHERE worker IS NOT NULL) seen
   WHERE length(name) BETWEEN 1 AND 253 AND EXISTS (SELECT FROM donated_worker) AND name NOT IN (SELECT name FROM donated_worker);

-- Of the project's dollars charged since then, what corrections have given back by now: a correction of a correction takes back what
-- that gave.
CREATE FUNCTION given_back_since(project text, since timestamptz) RETURNS numeric LANGUAGE sql STABLE
AS $$
  WITH RECURSIVE back AS (
    SELECT corrects_id AS corrected, amount FROM transfer WHERE project_id = project AND kind = 'correction' AND created_at >= since
    UNION ALL SELECT t.corrects_id, -back.amount FROM back JOIN transfer t ON t.id = back.corrected AND t.kind = 'correction')
  SELECT coalesce(sum(back.amount), 0) FROM back JOIN transfer t ON t.id = back.corrected
    JOIN account a ON a.id = t.debit_id WHERE t.kind = 'post' AND t.created_at >= since AND a.kind = 'prepaid' AND a.ledger = 'USD_NANO'
$$;
CREATE INDEX transfer_given_back ON transfer (project_id, created_at) WHERE kind = 'correction';
