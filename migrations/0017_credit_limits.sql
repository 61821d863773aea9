-- Postpaid projects: how far a prepaid account may go below nothing.

-- credit_limit: set by an administrator; 0: prepaid. owing_allowed: the most that the account may owe now, which is the limit, or while
-- it owes more than a limit that was lowered, what it owes. Whoever moves money sets it anew, so that what was paid back stays paid.
ALTER TABLE account
  ADD COLUMN credit_limit  bigint NOT NULL DEFAULT 0 CHECK (credit_limit >= 0),
  ADD COLUMN owing_allowed bigint NOT NULL DEFAULT 0 CHECK (owing_allowed >= credit_limit),
  ADD CONSTRAINT account_reach CHECK (credits_posted <= 9223372036854775807 - credit_limit),  -- or their sum could not be told
  ADD CHECK (credit_limit = 0 OR (kind = 'prepaid' AND ledger = 'USD_NANO')),
  DROP CONSTRAINT account_overdraft,
  ADD CONSTRAINT account_overdraft CHECK (NOT no_overdraft OR debits_posted + debits_pending - credits_posted <= owing_allowed);
