#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// What is hashed of a row of `usage`, which stands in the chain of USD_NANO beside the transfers (ledger_entry.h): 216 bytes,
/// integers big-endian in two's complement.
///
///     at  bytes
///      0    4   "FTU1"
///      4    1   1: the chain of USD_NANO
///      5    3   0
///      8    8   position in the chain
///     16    8   seq
///     24   16   transfer_id, or 0
///     40    8   first step
///     48    8   the step behind the last one
///     56    8   tokens_cum
///     64    8   amount
///     72    8   lease_epoch
///     80    8   created_at, microseconds since 1970-01-01 UTC
///     88   32   SHA-256 of project_id (UTF-8)
///    120   32   SHA-256 of job_id
///    152   32   SHA-256 of metric
///    184   32   SHA-256 of step_tokens, 8 bytes each, or 0
///
/// The function usage_entry(usage, position) of the migrations gives the same bytes in SQL.
struct UsageEntry {
  static constexpr std::size_t kBytes = 216;

  std::int64_t seq = 0;
  std::optional<std::string> transfer_id;
  std::int64_t first_step = 0, end_step = 0;
  std::int64_t tokens_cum = 0, amount = 0, lease_epoch = 0, created_micros = 0;
  std::string project_id, job_id, metric;
  std::optional<std::vector<std::int64_t>> step_tokens;
  std::int64_t position = 0;

  std::array<char, kBytes> bytes() const;
  /// 32 bytes; `before` has 32 too.
  std::string hash(const std::string& before) const;
};

/// The columns of the table `usage` that read_usage_entry reads; position is the caller's to set. Throws std::invalid_argument
/// where a range or a list of tokens is none that is ever booked: someone took the database's CHECK away.
extern const char kUsageColumns[];
UsageEntry read_usage_entry(const postgres::Row& row);

}  // namespace finetuned::billing
