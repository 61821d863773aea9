#include "billing/verify.h"

#include <algorithm>
#include <future>

#include "base/hex.h"
#include "storage/audit_store.h"

namespace finetuned::billing {

namespace {

using postgres::Scope;

constexpr std::chrono::hours kLongest{2};  // a statement: it reads every transfer

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
    {"I1",
     "SELECT 'transfer ' || t.id || ' of ' || t.ledger || ' and ' || t.project_id || ' moves from ' || d.kind || ' of ' || d.ledger"
     " || ' and ' || d.project_id || ' to ' || c.kind || ' of ' || c.ledger || ' and ' || c.project_id AS detail"
     " FROM transfer t JOIN account d ON d.id = t.debit_id JOIN account c ON c.id = t.credit_id"
     " WHERE d.ledger <> t.ledger OR c.ledger <> t.ledger OR d.project_id <> t.project_id OR c.project_id <> t.project_id"
     "  OR (t.kind IN ('pending', 'post', 'void', 'expire') AND (t.ledger, d.kind, c.kind) NOT IN (('USD_NANO', 'prepaid', 'revenue'),"
     "   ('USD_NANO', 'liquidity', 'revenue'), ('POINTS_MICRO', 'prepaid', 'liquidity')))"
     "  OR (t.kind = 'single' AND (t.ledger, d.kind, c.kind) NOT IN (('USD_NANO', 'funding', 'prepaid'),"
     "   ('POINTS_MICRO', 'funding', 'prepaid'), ('POINTS_MICRO', 'funding', 'escrow'), ('POINTS_MICRO', 'escrow', 'prepaid'),"
     "   ('POINTS_MICRO', 'escrow', 'funding'))) ORDER BY t.seq LIMIT 1"},
    {"I2",
     "SELECT 'account ' || id || CASE WHEN owing > owing_allowed THEN ' owes ' || owing || ', and may owe ' || owing_allowed"
     " ELSE ' may owe ' || owing_allowed || ', with a credit limit of ' || credit_limit END AS detail"
     " FROM (SELECT *, debits_posted + debits_pending - credits_posted AS owing FROM account WHERE no_overdraft) a"
     " WHERE owing > owing_allowed OR owing_allowed > greatest(credit_limit, owing) ORDER BY id LIMIT 1"},
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
     "SELECT 'hold ' || t.id || ' of job ' || t.job_id || ': ' || CASE WHEN j.id IS NULL"
     " THEN 'the job does not name it' WHEN j.settled_at IS NULL THEN 'resolved before the job was settled'"
     " ELSE 'still open after the job was settled' END AS detail"
     " FROM transfer t LEFT JOIN job j ON j.id = t.job_id AND t.id IN (j.hold_transfer_id, j.points_hold_id, j.liquidity_hold_id)"
     " LEFT JOIN transfer r ON r.pending_id = t.id AND r.kind IN ('post', 'void', 'expire')"
     " WHERE t.kind = 'pending' AND t.job_id IS NOT NULL AND (j.id IS NULL OR (j.settled_at IS NULL) <> (r.id IS NULL))"
     " ORDER BY t.seq LIMIT 1"},
    {"I4",
     "SELECT 'hold ' || t.id || ' of a request, ' || t.reason || ': ' || CASE WHEN r.id IS NULL AND w.transfer_id IS NULL"
     " THEN 'still open, and nothing will end it' WHEN w.transfer_id IS NOT NULL AND r.id IS NOT NULL THEN 'resolved, and still waited for'"
     " ELSE 'charged without usage' END AS detail FROM transfer t LEFT JOIN inference_hold w ON w.transfer_id = t.id"
     " LEFT JOIN transfer r ON r.pending_id = t.id AND r.kind IN ('post', 'void', 'expire')"
     " LEFT JOIN inference_usage u ON u.transfer_id = t.id WHERE t.kind = 'pending' AND t.job_id IS NULL"
     "  AND ((r.id IS NULL) <> (w.transfer_id IS NOT NULL) OR (r.kind = 'post' AND u.seq IS NULL)) ORDER BY t.seq LIMIT 1"},
    {"I4",
     "SELECT 'transfer ' || t.id || ' resolves ' || t.pending_id || ', ' || CASE WHEN h.id IS NULL THEN 'which is not there'"
     " WHEN h.kind <> 'pending' THEN 'which is no hold' WHEN t.amount > h.amount THEN 'a hold of less'"
     " ELSE 'which is another hold than it says' END AS detail FROM transfer t LEFT JOIN transfer h ON h.id = t.pending_id"
     " WHERE t.kind IN ('post', 'void', 'expire') AND (h.id IS NULL OR h.kind <> 'pending' OR t.amount > h.amount"
     "  OR (t.kind <> 'post' AND t.amount <> h.amount) OR (t.ledger, t.project_id, t.debit_id, t.credit_id, t.job_id)"
     "   IS DISTINCT FROM (h.ledger, h.project_id, h.debit_id, h.credit_id, h.job_id)) ORDER BY t.seq LIMIT 1"},
    {"I4",
     "SELECT 'transfer ' || id || ' is corrected by ' || corrected || ', and moved ' || coalesce(amount::text, 'nothing') ||"
     " CASE WHEN fits THEN '' ELSE ' between other accounts' END AS detail FROM (SELECT c.corrects_id AS id, t.amount, t.seq,"
     "  sum(c.amount) AS corrected, bool_and((c.ledger, c.project_id, c.debit_id, c.credit_id) IS NOT DISTINCT FROM"
     "   (t.ledger, t.project_id, t.credit_id, t.debit_id)) AS fits FROM transfer c LEFT JOIN transfer t ON t.id = c.corrects_id"
     "   AND t.kind IN ('single', 'post', 'correction') WHERE c.kind = 'correction' GROUP BY c.corrects_id, t.amount, t.seq) s"
     " WHERE amount IS NULL OR corrected > amount OR NOT fits ORDER BY seq LIMIT 1"},
    {"I5",
     "WITH billed AS (SELECT job_id, max(tokens_cum) AS tokens, sum(amount) AS amount FROM usage"
     "  WHERE metric = 'trained_tokens' GROUP BY job_id),"
     " settled AS (SELECT j.id, coalesce(j.trained_tokens, 0) AS trained, coalesce(post.amount, 0)::bigint AS charge,"
     "  CASE WHEN j.error_code IN ('worker_crashed', 'internal_error') THEN 0 ELSE coalesce(b.tokens, 0) END AS tokens,"
     "  CASE WHEN j.error_code IN ('worker_crashed', 'internal_error') THEN 0 ELSE coalesce(b.amount, 0) END AS amount"
     "  FROM job j LEFT JOIN billed b ON b.job_id = j.id"
     "  LEFT JOIN LATERAL (SELECT sum(amount) AS amount FROM transfer"
     "   WHERE pending_id IN (j.hold_transfer_id, j.liquidity_hold_id) AND kind = 'post') post ON true"
     "  WHERE j.settled_at IS NOT NULL AND j.price_version IS NOT NULL)"
     " SELECT 'job ' || id || ' trained ' || trained || ' tokens and was charged ' || charge || ', its usage is ' || tokens ||"
     " ' tokens for ' || amount AS detail FROM settled WHERE trained <> tokens OR charge <> amount ORDER BY id LIMIT 1"},
    {"I5",
     "WITH ranges AS (SELECT u.*, coalesce(j.hold_transfer_id, j.liquidity_hold_id) AS hold_transfer_id, coalesce(j.quoted_nano, 0) AS held, p.nano_per_1k AS price,"
     "  coalesce(lag(upper(steps)) OVER job, 1) AS next, coalesce(lag(tokens_cum) OVER job, 0) AS tokens_before"
     "  FROM usage u JOIN job j ON j.id = u.job_id JOIN price p ON p.version = j.price_version"
     "  WHERE metric = 'trained_tokens' WINDOW job AS (PARTITION BY job_id ORDER BY steps)),"
     " priced AS (SELECT *, div(tokens_cum::numeric * price, 1000) AS whole, mod(tokens_cum::numeric * price, 1000) AS rest,"
     "  div(tokens_before::numeric * price, 1000) AS whole_before, mod(tokens_before::numeric * price, 1000) AS rest_before FROM ranges),"
     " due AS (SELECT *, least(held, whole + (rest > 500 OR (rest = 500 AND mod(whole, 2) = 1))::int) - least(held, whole_before"
     "  + (rest_before > 500 OR (rest_before = 500 AND mod(whole_before, 2) = 1))::int) AS price_of_it FROM priced)"
     " SELECT 'usage ' || seq || ' of job ' || job_id || ', steps ' || steps::text || ': ' || CASE WHEN lower(steps) <> next"
     " THEN 'the range before it ends at ' || next WHEN tokens_cum < tokens_before THEN 'fewer tokens than before it'"
     " WHEN transfer_id IS DISTINCT FROM hold_transfer_id THEN 'it names another hold than its job'"
     " ELSE 'costs ' || price_of_it || ' and is booked with ' || amount END AS detail FROM due"
     " WHERE lower(steps) <> next OR tokens_cum < tokens_before OR transfer_id IS DISTINCT FROM hold_transfer_id"
     "  OR amount <> price_of_it ORDER BY seq LIMIT 1"},
    {"I5",  // of a job that went back
     "WITH RECURSIVE moved AS (SELECT t.job_id, t.id, t.amount FROM job j JOIN transfer t ON t.job_id = j.id AND t.kind = 'post'"
     "   AND t.ledger = 'USD_NANO' WHERE j.standing_steps IS NOT NULL AND j.settled_at IS NOT NULL UNION ALL"
     "  SELECT m.job_id, c.id, -sign(m.amount)::bigint * c.amount FROM moved m JOIN transfer c ON c.corrects_id = m.id AND c.kind = 'correction'),"
     " settled AS (SELECT j.id, j.quoted_nano AS held, div(j.standing_tokens::numeric * p.nano_per_1k, 1000) AS whole,"
     "  mod(j.standing_tokens::numeric * p.nano_per_1k, 1000) AS rest,"
     "  (SELECT coalesce(sum(m.amount), 0) FROM moved m WHERE m.job_id = j.id) AS paid FROM job j JOIN price p ON p.version = j.price_version WHERE j.standing_steps IS NOT NULL AND j.settled_at IS NOT NULL),"
     " due AS (SELECT *, least(held, whole + (rest > 500 OR (rest = 500 AND mod(whole, 2) = 1))::int) AS price FROM settled)"
     " SELECT 'job ' || id || ' pays ' || paid || ', and ' || price || ' is the price of its steps that stand' AS detail FROM due"
     " WHERE paid > price ORDER BY id LIMIT 1"},
    {"I5",
     "SELECT 'job ' || j.id || ' holds ' || p.amount || ' micro-points for ' || l.amount || ' nano-dollars and paid ' ||"
     " coalesce(pp.amount, 0) || ' for ' || coalesce(lp.amount, 0) AS detail FROM job j JOIN transfer p ON p.id = j.points_hold_id"
     " JOIN transfer l ON l.id = j.liquidity_hold_id"
     " LEFT JOIN transfer pp ON pp.pending_id = p.id AND pp.kind = 'post' LEFT JOIN transfer lp ON lp.pending_id = l.id AND lp.kind = 'post'"
     " WHERE p.amount <> div(l.amount + 999, 1000) OR coalesce(pp.amount, 0) <> div(coalesce(lp.amount, 0) + 999, 1000)"
     " ORDER BY j.seq LIMIT 1"},
    {"I5",
     "WITH priced AS (SELECT u.*, h.id AS hold_id, coalesce(h.amount, 0) AS held, h.project_id AS payer, h.job_id AS job, r.kind AS ended,"
     "   CASE WHEN r.kind = 'post' THEN r.amount ELSE 0 END AS charge, div(u.prompt_tokens::numeric * i.nano_per_1k, 1000) AS whole_in,"
     "   mod(u.prompt_tokens::numeric * i.nano_per_1k, 1000) AS rest_in, div(u.completion_tokens::numeric * o.nano_per_1k, 1000) AS whole_out,"
     "   mod(u.completion_tokens::numeric * o.nano_per_1k, 1000) AS rest_out FROM inference_usage u"
     "  JOIN price i ON i.version = u.input_price_version JOIN price o ON o.version = u.output_price_version"
     "  LEFT JOIN transfer h ON h.id = u.transfer_id LEFT JOIN transfer r ON r.pending_id = h.id AND r.kind IN ('post', 'void', 'expire')),"
     " due AS (SELECT *, whole_in + (rest_in > 500 OR (rest_in = 500 AND mod(whole_in, 2) = 1))::int AS price_in,"
     "  whole_out + (rest_out > 500 OR (rest_out = 500 AND mod(whole_out, 2) = 1))::int AS price_out FROM priced),"
     " owed AS (SELECT *, CASE WHEN waived THEN 0 ELSE least(price_in, held) END AS due_in,"
     "  CASE WHEN waived THEN 0 ELSE least(price_out, held - least(price_in, held)) END AS due_out FROM due)"
     " SELECT 'usage ' || seq || ' of request ' || request_id || ': ' || CASE WHEN input_amount <> due_in OR output_amount <> due_out"
     " THEN 'costs ' || due_in || ' and ' || due_out || ', and is booked with ' || input_amount || ' and ' || output_amount"
     " WHEN transfer_id IS NULL THEN 'nothing was held for it' WHEN payer IS DISTINCT FROM project_id OR job IS NOT NULL"
     " THEN 'it names a hold that is not its own' WHEN waived THEN 'it was waived, though its hold did not expire'"
     " ELSE 'costs ' || due_in + due_out || ' and was charged ' || charge END AS detail FROM owed"
     " WHERE input_amount <> due_in OR output_amount <> due_out OR (transfer_id IS NULL AND price_in + price_out > 0 AND NOT waived)"
     "  OR (transfer_id IS NOT NULL AND (hold_id IS NULL OR payer <> project_id OR job IS NOT NULL OR charge <> due_in + due_out"
     "   OR waived <> (ended IS NOT DISTINCT FROM 'expire'))) ORDER BY seq LIMIT 1"},
};

// The last entry of each project is its limit: both are one commit.
constexpr char kUnauditedLimit[] =
    "SELECT 'account ' || a.id || ' of ' || a.project_id || ' has a credit limit of ' || credit_limit || ', the audit log says ' ||"
    " coalesce(audited, 0) AS detail FROM account a LEFT JOIN (SELECT DISTINCT ON (project_id) project_id,"
    "  (payload #>> '{changes_requested,credit_limit}')::bigint AS audited FROM audit_log WHERE type = 'credit_limit.updated'"
    "  ORDER BY project_id, position DESC) l ON l.project_id = a.project_id"
    " WHERE a.kind = 'prepaid' AND a.ledger = 'USD_NANO' AND credit_limit <> coalesce(audited, 0) ORDER BY a.id LIMIT 1";

void check_credit_limits(postgres::Transaction& tx, LedgerVerification& verification) {
  const auto offender = tx.execute(kUnauditedLimit);
  if (!offender.empty()) verification.faults.push_back({"I2", offender.row(0).text("detail")});
}

void check_signatures(const std::vector<LedgerHead>& heads, const std::vector<std::string>& keys,
                      LedgerVerification& verification) {
  if (!heads.empty() && keys.empty())
    verification.faults.push_back({"head", "there are signed heads and no key to check them by: name it with --public-key"});
  if (keys.empty()) return;
  const auto forged = std::find_if(heads.begin(), heads.end(), [&](const LedgerHead& head) {
    return std::none_of(keys.begin(), keys.end(), [&](const std::string& key) { return head.signed_by(key); });
  });
  if (forged == heads.end()) return;
  verification.faults.push_back({"head", to_string(forged->ledger) + " position " + std::to_string(forged->position) +
                                             ": it was not signed by the key " + base::hex_encode(keys.front())});
}

/// All but the chains and the heads.
LedgerVerification replay_books(postgres::Transaction& tx) {
  LedgerVerification verification = verify_ledger(tx);
  check_credit_limits(tx, verification);
  const storage::AuditVerification audit = storage::verify_audit_log(tx);
  verification.audit_entries = audit.entries;
  for (const storage::AuditFault& fault : audit.faults)
    verification.faults.push_back({"audit", fault.organization_id + ": " + fault.entry_id + ": " + fault.detail});
  return verification;
}

}  // namespace

LedgerVerification verify_ledger(postgres::Transaction& tx) {
  LedgerVerification verification;
  const auto counts = tx.execute(
      "SELECT (SELECT count(*) FROM account) AS accounts, (SELECT count(*) FROM transfer) AS transfers,"
      " (SELECT count(*) FROM usage) + (SELECT count(*) FROM inference_usage) AS usages");
  verification.accounts = counts.row(0).integer("accounts");
  verification.transfers = counts.row(0).integer("transfers");
  verification.usages = counts.row(0).integer("usages");
  for (const Rule& rule : kRules) {
    const auto offender = tx.execute(rule.sql);
    if (!offender.empty()) verification.faults.push_back({rule.name, offender.row(0).text("detail")});
  }
  verify_donations(tx, verification);
  return verification;
}

LedgerVerification verify_books(postgres::Pool& pool, const KnownHeads& known) {
  return pool.snapshot(
      Scope::system(),
      [&](postgres::Transaction& tx) {
        std::vector<LedgerHead> heads = read_heads(tx);
        const std::size_t kept = heads.size();
        heads.insert(heads.end(), known.from_files.begin(), known.from_files.end());
        LedgerVerification verification;
        verification.heads = static_cast<std::int64_t>(kept);
        check_signatures(heads, known.public_keys, verification);
        // Beside the chains, by a second connection that sees the same; this one may wait for it as long as a statement may take.
        const std::string exported =
            tx.execute("SELECT pg_export_snapshot() AS id, set_config('idle_in_transaction_session_timeout', '0', true)").row(0).text("id");
        auto replay = std::async(std::launch::async, [&pool, exported] {
          return pool.snapshot(Scope::system(), replay_books, kLongest, exported);
        });
        verify_chains(tx, {}, heads, verification);
        const LedgerVerification replayed = replay.get();
        verification.accounts = replayed.accounts;
        verification.transfers = replayed.transfers;
        verification.usages = replayed.usages;
        verification.audit_entries = replayed.audit_entries;
        verification.faults.insert(verification.faults.end(), replayed.faults.begin(), replayed.faults.end());
        return verification;
      },
      kLongest);
}

}  // namespace finetuned::billing
