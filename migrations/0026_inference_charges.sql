-- Chats and completions are charged: the prices of their tokens, what is held while they are answered, and their usage in the
-- ledger's chain. At the end, an index for jobs that are still to be ended.

-- The platform's one price a token, of what goes in and of what comes out. It holds from this migration on: nothing was charged before.
INSERT INTO price (method, nano_per_1k, valid_from) VALUES
  ('inference_input', 1000000, '2026-01-01 00:00:00+00'),
  ('inference_output', 1000000, '2026-01-01 00:00:00+00');

-- The holds of requests that are being answered: a row comes and goes with its hold, so whoever deletes it ends that. most_tokens: what
-- the hold is for. expires_at: when nobody can be answering any more, whatever became of the gateway.
CREATE TABLE inference_hold (
  transfer_id uuid PRIMARY KEY REFERENCES transfer (id),
  project_id  text NOT NULL REFERENCES project (id),
  request_id  text NOT NULL,
  most_tokens bigint NOT NULL CHECK (most_tokens >= 0),
  expires_at  timestamptz NOT NULL
);
CREATE INDEX inference_hold_of_project ON inference_hold (project_id);
CREATE INDEX inference_hold_expiry ON inference_hold (expires_at);
ALTER TABLE inference_hold ENABLE ROW LEVEL SECURITY;
ALTER TABLE inference_hold FORCE ROW LEVEL SECURITY;
CREATE POLICY inference_hold_scope ON inference_hold USING (serves_project(project_id));

-- transfer_id: the hold that paid it, by a post of input_amount + output_amount (nano-dollars), or a void where that is 0; NULL:
-- nothing was held. waived: its price was not charged, as its hold had expired. Rows from before have no prices.
ALTER TABLE inference_usage
  ADD COLUMN base_model           text REFERENCES base_model (name),
  ADD COLUMN transfer_id          uuid UNIQUE REFERENCES transfer (id),
  ADD COLUMN input_price_version  bigint REFERENCES price (version),
  ADD COLUMN output_price_version bigint REFERENCES price (version),
  ADD COLUMN input_amount         bigint NOT NULL DEFAULT 0 CHECK (input_amount >= 0),
  ADD COLUMN output_amount        bigint NOT NULL DEFAULT 0 CHECK (output_amount >= 0),
  ADD COLUMN waived               boolean NOT NULL DEFAULT false,
  ADD CONSTRAINT inference_usage_prices CHECK ((input_price_version IS NULL) = (output_price_version IS NULL)),
  ADD CONSTRAINT inference_usage_paid CHECK ((transfer_id IS NOT NULL AND NOT waived) OR (input_amount = 0 AND output_amount = 0));

-- What a project was charged in a month, without its other transfers: a chat makes two.
CREATE INDEX transfer_charges ON transfer (project_id, created_at) INCLUDE (debit_id, amount) WHERE kind = 'post';

-- Usage of models stands in the chain of dollars, beside that of jobs (0018).
ALTER TABLE ledger_seal
  DROP CONSTRAINT ledger_seal_check,
  ADD COLUMN inference_seq bigint UNIQUE,
  ADD CONSTRAINT ledger_seal_check CHECK (num_nonnulls(transfer_id, usage_seq, inference_seq) = 1);
ALTER TABLE ledger_unsealed
  DROP CONSTRAINT ledger_unsealed_check,
  ADD COLUMN inference_seq bigint,
  ADD CONSTRAINT ledger_unsealed_check CHECK (num_nonnulls(transfer_id, usage_seq, inference_seq) = 1);

CREATE FUNCTION queue_inference_for_sealing() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN
  INSERT INTO ledger_unsealed (inference_seq) VALUES (NEW.seq);
  RETURN NULL;
END $$;
CREATE TRIGGER inference_usage_to_seal AFTER INSERT ON inference_usage FOR EACH ROW EXECUTE FUNCTION queue_inference_for_sealing();
INSERT INTO ledger_unsealed (inference_seq) SELECT seq FROM inference_usage ORDER BY seq;

-- What is hashed of such a row, for those who check by hand; billing/inference_entry.h says what each byte is.
CREATE FUNCTION inference_entry(u inference_usage, place bigint) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT convert_to('FTI1', 'UTF8') || '\x01'::bytea
   || CASE WHEN u.whole THEN '\x01'::bytea ELSE '\x00'::bytea END || CASE WHEN u.waived THEN '\x01'::bytea ELSE '\x00'::bytea END
   || '\x00'::bytea || int8send(place) || int8send(u.seq)
   || coalesce(uuid_send(u.transfer_id), decode(repeat('00', 16), 'hex'))
   || int8send(u.prompt_tokens) || int8send(u.completion_tokens)
   || int8send(coalesce(u.input_price_version, 0)) || int8send(coalesce(u.output_price_version, 0))
   || int8send(u.input_amount) || int8send(u.output_amount) || int8send((extract(epoch FROM u.created_at) * 1000000)::bigint)
   || sha256(convert_to(u.request_id, 'UTF8')) || sha256(convert_to(u.project_id, 'UTF8'))
   || sha256(convert_to(u.api_key_id, 'UTF8')) || sha256(convert_to(u.model, 'UTF8'))
   || coalesce(sha256(convert_to(u.base_model, 'UTF8')), decode(repeat('00', 32), 'hex')) $$;

-- Jobs of archived projects are ended batch by batch (billing/archiving.h): those that have not ended are found without the others.
CREATE INDEX job_unfinished ON job (project_id, seq) WHERE finished_at IS NULL;
