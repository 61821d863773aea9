-- The ledger's hash chain: what seals it, what signs it, and what keeps its rows from being changed. Usage by checkpoint.

-- Usage is booked with each committed checkpoint. transfer_id: the job's hold, which pays for it when the job ends (NULL:
-- a job that costs nothing). amount: what the range costs, in the hold's unit: f(tokens_cum) less f(tokens_cum of the
-- range before), both at most the hold. step_tokens: tokens_cum after each step of the range (NULL: not kept then).
ALTER TABLE usage
  ADD COLUMN amount bigint CHECK (amount >= 0),
  ADD COLUMN step_tokens bigint[],
  ALTER COLUMN transfer_id DROP NOT NULL,
  ADD CHECK (step_tokens IS NULL OR (cardinality(step_tokens) = upper(steps) - lower(steps)
                                     AND step_tokens[cardinality(step_tokens)] = tokens_cum));
ALTER TABLE usage DISABLE TRIGGER usage_append_only;
UPDATE usage u SET amount = CASE WHEN t.kind = 'post' THEN t.amount ELSE 0 END, transfer_id = t.pending_id
  FROM transfer t WHERE t.id = u.transfer_id;
ALTER TABLE usage ENABLE TRIGGER usage_append_only;
ALTER TABLE usage ALTER COLUMN amount SET NOT NULL;

CREATE INDEX transfer_corrections ON transfer (corrects_id) WHERE kind = 'correction';

-- One chain a ledger. Position 1, 2, 3... is the order of sealing: a transfer stands behind those that its transaction
-- could see. hash = SHA-256(prev_hash, ledger_entry(transfer, position)); prev_hash is 32 zero bytes at position 1.
-- A table of its own, so that a transfer is never updated. No foreign keys: they would lock, and so write, every
-- transfer's row; verify finds a seal without its transfer.
CREATE TABLE ledger_seal (
  ledger      text NOT NULL CHECK (ledger IN ('USD_NANO', 'POINTS_MICRO')),
  position    bigint NOT NULL CHECK (position >= 1),
  transfer_id uuid NOT NULL UNIQUE,
  prev_hash   bytea NOT NULL CHECK (octet_length(prev_hash) = 32),
  hash        bytea NOT NULL CHECK (octet_length(hash) = 32),
  sealed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (ledger, position)
);
ALTER TABLE ledger_seal ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_seal FORCE ROW LEVEL SECURITY;
CREATE POLICY ledger_seal_scope ON ledger_seal USING (serves_project(NULL));

-- Transfers that wait for their seal. A row appears by the commit of its transfer: no number given before a commit, and
-- no transaction id, which a restored dump would begin anew, has to be waited for. Rows are taken in the order of seq;
-- who saw a transfer inserts behind it.
CREATE TABLE ledger_unsealed (
  seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  transfer_id uuid NOT NULL
);
ALTER TABLE ledger_unsealed ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_unsealed FORCE ROW LEVEL SECURITY;
CREATE POLICY ledger_unsealed_scope ON ledger_unsealed USING (serves_project(NULL)) WITH CHECK (true);

CREATE FUNCTION queue_for_sealing() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN
  INSERT INTO ledger_unsealed (transfer_id) VALUES (NEW.id);
  RETURN NULL;
END $$;
CREATE TRIGGER transfer_to_seal AFTER INSERT ON transfer FOR EACH ROW EXECUTE FUNCTION queue_for_sealing();
INSERT INTO ledger_unsealed (transfer_id) SELECT id FROM transfer ORDER BY seq;

-- A chain's end, signed by Ed25519: what it covers can be neither cut off nor rewritten without the key. public_key: raw, 32 bytes.
CREATE TABLE ledger_head (
  ledger     text NOT NULL CHECK (ledger IN ('USD_NANO', 'POINTS_MICRO')),
  position   bigint NOT NULL CHECK (position >= 1),
  hash       bytea NOT NULL CHECK (octet_length(hash) = 32),
  made_at    timestamptz NOT NULL,
  public_key bytea NOT NULL CHECK (octet_length(public_key) = 32),
  signature  bytea NOT NULL CHECK (octet_length(signature) = 64),
  PRIMARY KEY (ledger, position)
);
ALTER TABLE ledger_head ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_head FORCE ROW LEVEL SECURITY;
CREATE POLICY ledger_head_scope ON ledger_head USING (serves_project(NULL));

-- What is hashed of a transfer, for those who check by hand; billing/ledger_entry.h says what each byte is.
CREATE FUNCTION ledger_entry(t transfer, place bigint) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT convert_to('FTL1', 'UTF8')
   || CASE t.ledger WHEN 'USD_NANO' THEN '\x01'::bytea ELSE '\x02'::bytea END
   || substring(int4send(array_position(ARRAY['single', 'pending', 'post', 'void', 'expire', 'correction'], t.kind)) FROM 4)
   || '\x0000'::bytea || int8send(place) || int8send(t.seq) || uuid_send(t.id)
   || coalesce(uuid_send(t.pending_id), decode(repeat('00', 16), 'hex'))
   || coalesce(uuid_send(t.corrects_id), decode(repeat('00', 16), 'hex'))
   || int8send(t.debit_id) || int8send(t.credit_id) || int8send(t.amount)
   || int8send((extract(epoch FROM t.created_at) * 1000000)::bigint) || int8send(coalesce(t.price_version, 0))
   || sha256(convert_to(t.project_id, 'UTF8'))
   || coalesce(sha256(convert_to(t.job_id, 'UTF8')), decode(repeat('00', 32), 'hex'))
   || sha256(convert_to(t.reason, 'UTF8')) $$;

CREATE TRIGGER ledger_seal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_seal
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_head_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_head
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Beside the triggers, so that one mistake does not undo it. A foreign key that names a transfer locks its row, which
-- takes the right to update some column of it: seq, which cannot be set.
REVOKE UPDATE, DELETE, TRUNCATE ON transfer, usage, audit_log, ledger_seal, ledger_head FROM PUBLIC, CURRENT_USER;
GRANT UPDATE (seq) ON transfer TO CURRENT_USER;
