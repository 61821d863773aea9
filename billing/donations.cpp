#include "billing/donations.h"

#include <algorithm>
#include <optional>

#include "base/expects.h"
#include "base/ids.h"
#include "base/money.h"
#include "billing/ledger.h"
#include "billing/points_payment.h"

namespace finetuned::billing {

namespace {

using postgres::Transaction;

/// `after`: the last step that is not this stretch's to be paid for.
constexpr char kTerms[] =
    "SELECT s.job_id, s.project_id, s.donor_id, s.worker, s.earned_micro, j.quoted_tokens, p.nano_per_1k, greatest(s.first_step,"
    "  (SELECT coalesce(max(upper(w.steps)) - 1, 0) FROM donated_work w WHERE w.job_id = s.job_id AND NOT w.forfeited AND NOT w.superseded),"
    "  coalesce(j.standing_steps, (SELECT coalesce(max(upper(u.steps)) - 1, 0) FROM usage u WHERE u.job_id = s.job_id"
    "   AND u.metric = 'trained_tokens'))) AS after"
    " FROM donated_stretch s JOIN job j ON j.id = s.job_id JOIN price p ON p.version = j.price_version"
    " WHERE s.id = $1 FOR NO KEY UPDATE OF s";
constexpr char kWork[] =
    "INSERT INTO donated_work (stretch_id, job_id, project_id, steps, tokens_from, tokens_to, prepaid_micro, escrow_micro, prepaid_id, escrow_id)"
    " VALUES ($1, $2, $3, int8range($4::bigint, $5::bigint), $6, $7, $8, $9, $10::uuid, $11::uuid)";
constexpr char kEarned[] =
    "UPDATE donated_stretch SET tokens = tokens + $2, earned_micro = earned_micro + $3, escrow_micro = escrow_micro + $4 WHERE id = $1";

/// The transfer's id; none where nothing is moved.
std::optional<std::string> pay(Transaction& tx, const std::string& project, AccountKind to, std::int64_t micro, const std::string& why) {
  if (micro == 0) return std::nullopt;
  const std::string id = base::make_uuid();
  Ledger(tx, LedgerName::kPointsMicro).move_between(id, project, AccountKind::kFunding, to, {micro}, why);
  return id;
}

}  // namespace

std::int64_t micro_points_for(std::int64_t tokens, std::int64_t nano_per_1k) {
  return base::price_of(tokens, nano_per_1k).value / kNanoPerMicroPoint;
}

void earn(Transaction& tx, const std::string& stretch_id, std::span<const std::int64_t> tokens_after) {
  const auto rows = tx.execute(kTerms, {stretch_id});
  base::expects(!rows.empty(), "a stretch is of a job that was admitted at a price");
  const auto terms = rows.row(0);
  if (terms.text("project_id") == terms.text("donor_id")) return;
  const std::int64_t after = terms.integer("after"), last = static_cast<std::int64_t>(tokens_after.size());
  if (last <= after) return;
  const std::int64_t quoted = terms.integer("quoted_tokens"), nano_per_1k = terms.integer("nano_per_1k");
  const auto tokens_to = [&](std::int64_t step) {
    return step == 0 ? 0 : std::clamp<std::int64_t>(tokens_after[static_cast<std::size_t>(step - 1)], 0, quoted);
  };
  const std::int64_t from = tokens_to(after), to = std::max(from, tokens_to(last));
  const std::int64_t points = micro_points_for(to, nano_per_1k) - micro_points_for(from, nano_per_1k);
  const std::int64_t before = terms.integer("earned_micro");
  const std::int64_t prepaid = (before + points) / 2 - before / 2, escrow = points - prepaid;
  const std::string donor = terms.text("donor_id");
  // The job's name is not the donor's to know.
  const std::string steps = "steps " + std::to_string(after + 1) + " to " + std::to_string(last) + " of " + stretch_id;
  const auto prepaid_id = pay(tx, donor, AccountKind::kPrepaid, prepaid, "earned by " + terms.text("worker") + ": " + steps);
  const auto escrow_id = pay(tx, donor, AccountKind::kEscrow, escrow, "earned, to vest, by " + terms.text("worker") + ": " + steps);
  tx.execute(kWork, {stretch_id, terms.text("job_id"), terms.text("project_id"), after + 1, last + 1, from, to, prepaid, escrow,
                     prepaid_id, escrow_id});
  tx.execute(kEarned, {stretch_id, to - from, points, escrow});
}

}  // namespace finetuned::billing
