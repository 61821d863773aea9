-- Jobs that pause, and what a stopped run needs to go on: the object that holds its state, and how far it had come.

ALTER TABLE job
  ADD COLUMN pause_requested_at timestamptz,
  ADD COLUMN state_object       text,
  ADD COLUMN state_step         bigint CHECK (state_step > 0),
  ADD COLUMN state_tokens       bigint CHECK (state_tokens >= 0),
  ADD CHECK ((state_object IS NULL) = (state_step IS NULL)),
  ADD CHECK ((state_object IS NULL) = (state_tokens IS NULL));

CREATE INDEX job_kept_state ON job (seq) WHERE finished_at IS NOT NULL AND state_object IS NOT NULL;
