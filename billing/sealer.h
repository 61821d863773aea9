#pragma once

#include <cstddef>

#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// Gives transfers their places in their ledgers' chains (ledger_entry.h), and usage of jobs and of models its own in that of
/// USD_NANO (usage_entry.h, inference_entry.h), oldest first, at most `most` at once; how many. System scope. One sealer at a time by an advisory lock: another finds it taken and seals nothing.
///
/// Each waits for its seal in `ledger_unsealed`, a row that its own transaction wrote: what is seen there is
/// committed, and what is not seen yet gets a later place. So places have no gaps, though seq, which is given before a
/// commit, has; and each stands behind all that its transaction had seen.
std::size_t seal_transfers(postgres::Transaction& tx, int most);

}  // namespace finetuned::billing
