-- What answering chats and completions took, and the hashes that answers of a checkpoint need.

-- One row a request that a model worked on, written when its answer ends. whole: false where the answer was broken off
-- (its client went away, its worker died): the tokens are then those that had come by then, a lower bound.
CREATE TABLE inference_usage (
  seq               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  request_id        text NOT NULL UNIQUE,
  project_id        text NOT NULL REFERENCES project (id),
  api_key_id        text NOT NULL REFERENCES api_key (id),
  model             text NOT NULL CHECK (length(model) BETWEEN 1 AND 400),
  prompt_tokens     bigint NOT NULL CHECK (prompt_tokens >= 0),
  completion_tokens bigint NOT NULL CHECK (completion_tokens >= 0),
  whole             boolean NOT NULL,
  created_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX inference_usage_of_project ON inference_usage (project_id, created_at);
ALTER TABLE inference_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE inference_usage FORCE ROW LEVEL SECURITY;
CREATE POLICY inference_usage_scope ON inference_usage USING (serves_project(project_id));
CREATE TRIGGER inference_usage_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON inference_usage
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- sha256: {"adapter_model.safetensors": HEX, ...}, as objects; {} for checkpoints from before this column.
ALTER TABLE job_checkpoint ADD COLUMN sha256 jsonb NOT NULL DEFAULT '{}';
CREATE INDEX job_checkpoint_name ON job_checkpoint (model_name);
