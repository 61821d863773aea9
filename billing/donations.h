#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// What a job's first `tokens` tokens are worth to who trains them: base::price_of at the job's price, in whole micro-points of
/// kNanoPerMicroPoint nano-dollars, rounded down. Both arguments >= 0.
std::int64_t micro_points_for(std::int64_t tokens, std::int64_t nano_per_1k);

/// Pays the donor of a stretch (storage::DonationStore::begin_stretch) for the steps of a checkpoint or a result, in the
/// transaction that commits it under the stretch's lease, before billing::book_usage. `tokens_after`: as book_usage takes them.
///
/// Paid are the stretch's own steps whose usage that transaction is the first to book, and of a job that went back
/// (donation_verdicts.h) those that it is the first to commit since: micro_points_for(tokens to their end) -
/// micro_points_for(tokens to their beginning), of at most the tokens that the job was quoted for. So what a stretch earns does not depend on where its checkpoints fall. Of all that it has earned,
/// half is `prepaid` at once, and half with an odd micro-point in `escrow`. How the job ends changes nothing of it.
///
/// A donor earns nothing by its own project's jobs, which it can have refunded or never billed.
///
/// Called again for the same steps it pays nothing; a step that earns twice is refused by the database. System scope: the
/// donor's accounts are not the job's project's.
void earn(postgres::Transaction& tx, const std::string& stretch_id, std::span<const std::int64_t> tokens_after);

}  // namespace finetuned::billing
