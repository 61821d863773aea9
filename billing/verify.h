#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// One broken rule: the first bad row of its kind and by how much.
struct LedgerFault {
  std::string rule;  ///< `I1`..`I5`, as in trust.md
  std::string detail;
};

struct LedgerVerification {
  std::int64_t accounts = 0;
  std::int64_t transfers = 0;
  std::int64_t usages = 0;
  std::vector<LedgerFault> faults;
};

/// Replays balances, holds and usage, each rule in one statement: I1 sums of debits and credits agree, posted and pending, and
/// no transfer leaves its ledger or its project; I2 no prepaid account is overdrawn; I3 cached balances are the replay of the
/// transfers; I4 a settled job's hold is resolved by exactly one transfer, an unfinished one's by none, and what resolves or
/// corrects a transfer fits it; I5 a job's usage is its trained tokens and its charge their price, range by range. System scope.
LedgerVerification verify_ledger(postgres::Transaction& tx);

}  // namespace finetuned::billing
