#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// What a project may have at once; none: unlimited.
struct Quotas {
  std::optional<std::int64_t> queued_jobs;
  std::optional<std::int64_t> running_jobs;
  std::optional<std::int64_t> storage_bytes;
  std::optional<std::int64_t> tokens_per_month;
  std::int64_t share_weight = 1;  ///< 1..1000: its share of the workers beside the other projects'
  std::optional<std::int64_t> upload_bytes_per_day = std::nullopt;  ///< since midnight (UTC)
};

/// What a project has of what its quotas limit, and when its day and its month end (UTC).
struct QuotaUse {
  std::int64_t queued_jobs = 0;       ///< waiting for their files or a worker, and paused ones, which will wait again
  std::int64_t running_jobs = 0;
  std::int64_t storage_bytes = 0;     ///< of files that are not deleted
  std::int64_t tokens_per_month = 0;  ///< billed in this calendar month (UTC), answers' too, and quoted for what has not ended
  std::int64_t upload_bytes_per_day = 0;  ///< of files uploaded since midnight, also where they are deleted; no results
  std::int64_t day_ends_at = 0;           ///< Unix time
  std::int64_t month_ends_at = 0;
};

/// Quotas of projects. Reading works in the project's own scope as well.
class QuotaStore {
 public:
  explicit QuotaStore(postgres::Transaction& tx) : tx_(tx) {}

  /// Those that were set; no limits and a weight of 1 before.
  Quotas get(const std::string& project_id);
  /// The same, and nobody else changes or locks them until the transaction ends: of two that would both fit, the second
  /// sees what the first took. Asked again in one transaction it says the same: not after put().
  Quotas lock(const std::string& project_id);
  QuotaUse used(const std::string& project_id);
  void put(const std::string& project_id, const Quotas& quotas);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
