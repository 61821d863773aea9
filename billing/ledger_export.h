#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "billing/transfer.h"
#include "storage/postgres/pool.h"

namespace finetuned::billing {

enum class ExportFormat { kCsv, kJson };

/// Which transfers: an empty bound or name lets all through.
struct ExportQuery {
  ExportFormat format = ExportFormat::kCsv;
  std::optional<LedgerName> ledger;
  std::optional<std::string> project_id;
  std::optional<std::int64_t> from;  ///< Unix seconds: created then or later
  std::optional<std::int64_t> to;    ///< and before then
};

/// Writes the transfers of one snapshot, oldest first, in bounded memory: CSV with a line of names, or one JSON array with an
/// object a line. Amounts are strings, times ISO 8601 with microseconds; `position` and `hash` are the seal's, empty (null)
/// where there is none yet. Returns how many. Throws what `write` throws.
std::int64_t export_transfers(postgres::Pool& pool, const ExportQuery& query,
                              const std::function<void(const std::string&)>& write);

}  // namespace finetuned::billing
