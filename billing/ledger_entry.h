#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "billing/transfer.h"

namespace finetuned::billing {

/// What is hashed of a transfer: 208 bytes, integers big-endian in two's complement, never any text.
///
///     at  bytes
///      0    4   "FTL1"
///      4    1   ledger: 1 USD_NANO, 2 POINTS_MICRO
///      5    1   kind: 1 single, 2 pending, 3 post, 4 void, 5 expire, 6 correction
///      6    2   0
///      8    8   position in the ledger's chain, from 1
///     16    8   seq
///     24   16   id
///     40   16   pending_id, or 0
///     56   16   corrects_id, or 0
///     72    8   debit_id
///     80    8   credit_id
///     88    8   amount
///     96    8   created_at, microseconds since 1970-01-01 UTC
///    104    8   price_version, or 0
///    112   32   SHA-256 of project_id (UTF-8)
///    144   32   SHA-256 of job_id, or 0
///    176   32   SHA-256 of reason
///
/// hash = SHA-256(hash of the entry before it (32 zero bytes before the first), these 208 bytes). The function
/// ledger_entry(transfer, position) of migration 0014 gives the same bytes in SQL. In the chain of USD_NANO stands usage as well
/// (usage_entry.h, inference_entry.h).
struct LedgerEntry {
  static constexpr std::size_t kBytes = 208;

  Transfer transfer;
  std::int64_t position = 0;

  std::array<char, kBytes> bytes() const;
  /// 32 bytes; `before` has 32 too.
  std::string hash(const std::string& before) const;
};

inline const std::string kBeforeFirst(32, '\0');

}  // namespace finetuned::billing
