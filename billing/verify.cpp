#include "billing/verify.h"

namespace finetuned::billing {

namespace {

/// A rule as a query for its first offender: columns `detail`; no row where it holds.
struct Rule {
  const char* name;
  const char* sql;
};

constexpr Rule kRules[] = {
    {"I1",
     "SELECT 'ledger ' || ledger || ': posted debits ' || sum(debits_posted) || ' and credits ' || sum(credits_posted)"
     " || ', pending ' || sum(debits_pending) || ' and ' || sum(credits_pending) AS detail FROM account GROUP BY ledger"
     " HAVING sum(debits_posted) <> sum(credits_posted) OR sum(debits_pending) <> sum(credits_pending) LIMIT 1"},
    {"I2",
     "SELECT 'account ' || id || ' is overdrawn by ' || debits_posted + debits_pending - credits_posted AS detail"
     " FROM account WHERE no_overdraft AND debits_posted + debits_pending > credits_posted ORDER BY id LIMIT 1"},
    {"I3",
     "WITH moves AS ("
     " SELECT debit_id, credit_id, amount, kind IN ('single', 'correction', 'post') AS posted FROM transfer t"
     " WHERE kind IN ('single', 'correction', 'post') OR (kind = 'pending' AND NOT EXISTS ("
     "  SELECT FROM transfer r WHERE r.pending_id = t.id AND r.kind IN ('post', 'void', 'expire')))),"
     " sides AS (SELECT debit_id AS account_id, amount, posted, true AS debit FROM moves"
     "  UNION ALL SELECT credit_id, amount, posted, false FROM moves),"
     " replay AS (SELECT account_id, coalesce(sum(amount) FILTER (WHERE debit AND NOT posted), 0) AS debits_pending,"
     "  coalesce(sum(amount) FILTER (WHERE debit AND posted), 0) AS debits_posted,"
     "  coalesce(sum(amount) FILTER (WHERE NOT debit AND NOT posted), 0) AS credits_pending,"
     "  coalesce(sum(amount) FILTER (WHERE NOT debit AND posted), 0) AS credits_posted"
     "  FROM sides GROUP BY account_id)"
     " SELECT 'account ' || a.id || ' holds ' || a.debits_pending || ' ' || a.debits_posted || ' ' ||"
     " a.credits_pending || ' ' || a.credits_posted || ', its transfers give ' || coalesce(r.debits_pending, 0) || ' '"
     " || coalesce(r.debits_posted, 0) || ' ' || coalesce(r.credits_pending, 0) || ' ' ||"
     " coalesce(r.credits_posted, 0) AS detail FROM account a LEFT JOIN replay r ON r.account_id = a.id"
     " WHERE (a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted) IS DISTINCT FROM"
     " (coalesce(r.debits_pending, 0), coalesce(r.debits_posted, 0), coalesce(r.credits_pending, 0),"
     " coalesce(r.credits_posted, 0)) ORDER BY a.id LIMIT 1"},
    {"I4",
     "SELECT 'hold ' || t.id || ' of job ' || coalesce(t.job_id, '(none)') || ': ' || CASE WHEN j.id IS NULL"
     " THEN 'the job does not name it' WHEN j.settled_at IS NULL THEN 'resolved before the job was settled'"
     " ELSE 'still open after the job was settled' END AS detail"
     " FROM transfer t LEFT JOIN job j ON j.hold_transfer_id = t.id"
     " LEFT JOIN transfer r ON r.pending_id = t.id AND r.kind IN ('post', 'void', 'expire')"
     " WHERE t.kind = 'pending' AND (j.id IS NULL OR (j.settled_at IS NULL) <> (r.id IS NULL))"
     " ORDER BY t.seq LIMIT 1"},
    {"I5",
     "WITH billed AS (SELECT u.job_id, max(u.tokens_cum) AS tokens FROM usage u GROUP BY u.job_id),"
     " priced AS (SELECT j.id, j.trained_tokens, b.tokens, j.quoted_nano, post.amount,"
     "  div(b.tokens::numeric * p.nano_per_1k, 1000) AS whole, mod(b.tokens::numeric * p.nano_per_1k, 1000) AS rest"
     "  FROM job j JOIN price p ON p.version = j.price_version LEFT JOIN billed b ON b.job_id = j.id"
     "  LEFT JOIN transfer post ON post.pending_id = j.hold_transfer_id AND post.kind = 'post'"
     "  WHERE j.settled_at IS NOT NULL AND j.hold_transfer_id IS NOT NULL)"
     " SELECT 'job ' || id || ' trained ' || coalesce(trained_tokens, 0) || ' tokens, has usage of ' ||"
     " coalesce(tokens, 0) || ' and a charge of ' || coalesce(amount, 0) AS detail FROM priced"
     " WHERE coalesce(trained_tokens, 0) <> coalesce(tokens, 0) OR coalesce(amount, 0) <> least(quoted_nano,"
     " coalesce(whole + CASE WHEN rest > 500 OR (rest = 500 AND mod(whole, 2) = 1) THEN 1 ELSE 0 END, 0))"
     " ORDER BY id LIMIT 1"},
};

}  // namespace

LedgerVerification verify_ledger(postgres::Transaction& tx) {
  LedgerVerification verification;
  const auto counts = tx.execute(
      "SELECT (SELECT count(*) FROM account) AS accounts, (SELECT count(*) FROM transfer) AS transfers,"
      " (SELECT count(*) FROM usage) AS usages");
  verification.accounts = counts.row(0).integer("accounts");
  verification.transfers = counts.row(0).integer("transfers");
  verification.usages = counts.row(0).integer("usages");
  for (const Rule& rule : kRules) {
    const auto offender = tx.execute(rule.sql);
    if (!offender.empty()) verification.faults.push_back({rule.name, offender.row(0).text("detail")});
  }
  return verification;
}

}  // namespace finetuned::billing
