#include "billing/verify.h"

namespace finetuned::billing {

namespace {

// Each for its first offender: columns `detail`; no row where it holds.
constexpr const char* kRules[] = {
    // What was earned moved, and nothing else did.
    "WITH paid AS (SELECT w.seq, s.donor_id, v.id, v.micro, v.account FROM donated_work w JOIN donated_stretch s ON s.id = w.stretch_id"
    "  CROSS JOIN LATERAL (VALUES (w.prepaid_id, w.prepaid_micro, 'prepaid'), (w.escrow_id, w.escrow_micro, 'escrow')) v (id, micro, account)"
    "  WHERE v.micro > 0)"
    " SELECT 'donated work ' || p.seq || ' earned ' || micro || ' micro-points for ' || account || ' of ' || donor_id || ', its transfer moves ' ||"
    " coalesce(t.amount || ' from ' || d.kind || ' to ' || c.kind || ' of ' || t.project_id, 'nothing') AS detail"
    " FROM paid p LEFT JOIN transfer t ON t.id = p.id LEFT JOIN account d ON d.id = t.debit_id LEFT JOIN account c ON c.id = t.credit_id"
    " WHERE (t.ledger, t.kind, t.project_id, t.amount, d.kind, c.kind)"
    "  IS DISTINCT FROM ('POINTS_MICRO', 'single', p.donor_id, p.micro, 'funding', p.account) ORDER BY p.seq LIMIT 1",

    // By the job's price, for steps of its stretch.
    "WITH at AS (SELECT w.*, j.quoted_tokens, s.first_step, w.tokens_to::numeric * p.nano_per_1k AS thousandths,"
    "  w.tokens_from::numeric * p.nano_per_1k AS thousandths_before FROM donated_work w JOIN donated_stretch s ON s.id = w.stretch_id"
    "  JOIN job j ON j.id = w.job_id JOIN price p ON p.version = j.price_version),"
    " cut AS (SELECT *, div(thousandths, 1000) AS whole, mod(thousandths, 1000) AS rest, div(thousandths_before, 1000) AS whole_before,"
    "  mod(thousandths_before, 1000) AS rest_before FROM at),"
    " due AS (SELECT *, div(whole + (rest > 500 OR (rest = 500 AND mod(whole, 2) = 1))::int, 1000)"
    "  - div(whole_before + (rest_before > 500 OR (rest_before = 500 AND mod(whole_before, 2) = 1))::int, 1000) AS points FROM cut)"
    " SELECT 'donated work ' || seq || ', steps ' || steps::text || ': ' || CASE WHEN lower(steps) <= first_step THEN"
    " 'its stretch begins behind step ' || first_step WHEN tokens_to > quoted_tokens THEN 'more tokens than its job has'"
    " ELSE 'its tokens are worth ' || points || ' micro-points, and earned ' || prepaid_micro + escrow_micro END AS detail FROM due"
    " WHERE lower(steps) <= first_step OR tokens_to > quoted_tokens OR points <> prepaid_micro + escrow_micro ORDER BY seq LIMIT 1",

    "WITH work AS (SELECT stretch_id, sum(tokens_to - tokens_from) AS tokens, sum(prepaid_micro + escrow_micro) AS earned,"
    "  sum(escrow_micro) AS escrow, bool_or(forfeited) AS forfeited, bool_or(superseded) AS some_superseded,"
    "  bool_and(superseded) AS superseded FROM donated_work GROUP BY stretch_id)"
    " SELECT 'stretch ' || s.id || ' has ' || s.tokens || ' tokens, ' || s.earned_micro || ' micro-points, ' || s.escrow_micro ||"
    " ' of them in escrow; its work gives ' || coalesce(w.tokens, 0) || ', ' || coalesce(w.earned, 0) || ' and ' || coalesce(w.escrow, 0) AS detail"
    " FROM donated_stretch s LEFT JOIN work w ON w.stretch_id = s.id"
    " WHERE (s.tokens, s.earned_micro, s.escrow_micro) IS DISTINCT FROM (coalesce(w.tokens, 0), coalesce(w.earned, 0), coalesce(w.escrow, 0))"
    "  OR s.escrow_micro <> s.earned_micro - s.earned_micro / 2 OR coalesce(w.forfeited, false) <> (coalesce(s.outcome, '') = 'forfeited' AND w.tokens IS NOT NULL)"
    "  OR w.some_superseded <> (s.superseded_at IS NOT NULL) OR w.superseded <> w.some_superseded"
    " ORDER BY s.seq LIMIT 1",

    // A verdict moves what waited for it.
    "SELECT 'stretch ' || s.id || ' ' || coalesce(s.outcome, 'is not decided') || ' with ' || s.escrow_micro || ' micro-points in escrow, its transfer moves ' ||"
    " coalesce(t.amount || ' from ' || d.kind || ' to ' || c.kind, 'nothing') AS detail"
    " FROM donated_stretch s LEFT JOIN transfer t ON t.id = s.verdict_id LEFT JOIN account d ON d.id = t.debit_id"
    " LEFT JOIN account c ON c.id = t.credit_id"
    " WHERE CASE WHEN s.outcome IN ('vested', 'forfeited') AND s.escrow_micro > 0 THEN (t.ledger, t.kind, t.project_id, t.amount, d.kind, c.kind)"
    "   IS DISTINCT FROM ('POINTS_MICRO', 'single', s.donor_id, s.escrow_micro, 'escrow', CASE s.outcome WHEN 'vested' THEN 'prepaid' ELSE 'funding' END)"
    "  ELSE s.verdict_id IS NOT NULL END ORDER BY s.seq LIMIT 1",

    // What waits in a donor's escrow is what stretches and awards have there.
    "SELECT 'account ' || a.id || ' of ' || a.project_id || ' has ' || a.credits_posted - a.debits_posted || ' micro-points in escrow, ' ||"
    " owned.stretches || ' wait for checks and ' || owned.awards || ' for their awards' AS detail FROM account a CROSS JOIN LATERAL (SELECT"
    "  (SELECT coalesce(sum(escrow_micro), 0) FROM donated_stretch s WHERE s.donor_id = a.project_id AND s.outcome IS NULL) AS stretches,"
    "  (SELECT coalesce(sum(escrow_micro), 0) FROM contribution k WHERE k.project_id = a.project_id AND k.vested_at IS NULL"
    "    AND k.forfeited_at IS NULL) AS awards) owned"
    " WHERE a.kind = 'escrow' AND EXISTS (SELECT FROM donated_stretch s WHERE s.donor_id = a.project_id)"
    "  AND a.credits_posted - a.debits_posted <> owned.stretches + owned.awards ORDER BY a.id LIMIT 1",
};

}  // namespace

void verify_donations(postgres::Transaction& tx, LedgerVerification& verification) {
  for (const char* rule : kRules) {
    const auto offender = tx.execute(rule);
    if (!offender.empty()) verification.faults.push_back({"I6", offender.row(0).text("detail")});
  }
}

}  // namespace finetuned::billing
