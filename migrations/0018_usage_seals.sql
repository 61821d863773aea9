-- Usage stands in the ledger's chain beside the transfers, from when it is booked: what is sealed is one of the two.

ALTER TABLE ledger_seal
  ALTER COLUMN transfer_id DROP NOT NULL,
  ADD COLUMN usage_seq bigint UNIQUE,
  ADD CHECK (num_nonnulls(transfer_id, usage_seq) = 1);
ALTER TABLE ledger_unsealed
  ALTER COLUMN transfer_id DROP NOT NULL,
  ADD COLUMN usage_seq bigint,
  ADD CHECK (num_nonnulls(transfer_id, usage_seq) = 1);

CREATE FUNCTION queue_usage_for_sealing() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN
  INSERT INTO ledger_unsealed (usage_seq) VALUES (NEW.seq);
  RETURN NULL;
END $$;
CREATE TRIGGER usage_to_seal AFTER INSERT ON usage FOR EACH ROW EXECUTE FUNCTION queue_usage_for_sealing();
INSERT INTO ledger_unsealed (usage_seq) SELECT seq FROM usage ORDER BY seq;

-- What is hashed of a row of usage, for those who check by hand; billing/usage_entry.h says what each byte is.
CREATE FUNCTION usage_entry(u usage, place bigint) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT convert_to('FTU1', 'UTF8') || '\x01000000'::bytea || int8send(place) || int8send(u.seq)
   || coalesce(uuid_send(u.transfer_id), decode(repeat('00', 16), 'hex'))
   || int8send(lower(u.steps)) || int8send(upper(u.steps)) || int8send(u.tokens_cum) || int8send(u.amount)
   || int8send(u.lease_epoch) || int8send((extract(epoch FROM u.created_at) * 1000000)::bigint)
   || sha256(convert_to(u.project_id, 'UTF8')) || sha256(convert_to(u.job_id, 'UTF8')) || sha256(convert_to(u.metric, 'UTF8'))
   || coalesce(sha256((SELECT string_agg(int8send(tokens), ''::bytea ORDER BY step)
        FROM unnest(u.step_tokens) WITH ORDINALITY AS s (tokens, step))), decode(repeat('00', 32), 'hex')) $$;
