-- Jobs that the storage failed: they are paused, and go on by themselves (storage/storage_pauses.h).

-- storage_since: when the storage first failed the run since it last got further, which was to storage_step;
-- storage_pauses: how often it has since.
ALTER TABLE job
  ADD COLUMN pause_reason     text CHECK (pause_reason = 'storage_unavailable'),
  ADD COLUMN storage_since    timestamptz,
  ADD COLUMN storage_step     bigint,
  ADD COLUMN storage_pauses   int NOT NULL DEFAULT 0,
  ADD COLUMN storage_retry_at timestamptz,
  ADD CHECK (pause_reason IS NULL OR state = 'paused'),
  ADD CHECK ((pause_reason IS NULL) = (storage_retry_at IS NULL)),
  ADD CHECK (pause_reason IS NULL OR storage_since IS NOT NULL);
CREATE INDEX job_waits_for_storage ON job (storage_retry_at) WHERE pause_reason IS NOT NULL;

-- Whoever ends a pause ends its reason.
CREATE FUNCTION end_pause() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
  NEW.pause_reason := NULL;
  NEW.storage_retry_at := NULL;
  RETURN NEW;
END $$;

CREATE TRIGGER job_pause_ends BEFORE UPDATE OF state ON job FOR EACH ROW
  WHEN (OLD.state = 'paused' AND NEW.state <> 'paused') EXECUTE FUNCTION end_pause();
