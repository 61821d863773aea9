-- Compute points: the ledger POINTS_MICRO (int64 micro-points) in use, and jobs that are paid with them.
--
-- A job that is paid with points holds them (prepaid -> liquidity, POINTS_MICRO), and what they are worth is held for the
-- platform's revenue (liquidity -> revenue, USD_NANO): the two ledgers meet in these two accounts and nowhere else.
-- `escrow`: points that were earned and are not to be spent yet.

ALTER TABLE account
  DROP CONSTRAINT account_kind_check,
  ADD CONSTRAINT account_kind_check CHECK (kind IN ('prepaid', 'revenue', 'funding', 'liquidity', 'escrow')),
  ADD CONSTRAINT account_escrow_of_points CHECK (kind <> 'escrow' OR (ledger = 'POINTS_MICRO' AND no_overdraft));

-- hold_transfer_id is what is held in the project's dollars; beside it these two, both or none.
ALTER TABLE job
  ADD COLUMN payment           text NOT NULL DEFAULT 'usd' CHECK (payment IN ('usd', 'points', 'points_then_usd')),
  ADD COLUMN points_hold_id    uuid REFERENCES transfer (id),
  ADD COLUMN liquidity_hold_id uuid REFERENCES transfer (id),
  ADD CHECK ((points_hold_id IS NULL) = (liquidity_hold_id IS NULL)),
  ADD CHECK (payment <> 'usd' OR points_hold_id IS NULL),
  ADD CHECK (payment <> 'points' OR hold_transfer_id IS NULL);
