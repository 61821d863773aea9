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
};

/// Quotas of projects. Reading works in the project's own scope as well.
class QuotaStore {
 public:
  explicit QuotaStore(postgres::Transaction& tx) : tx_(tx) {}

  /// Those that were set; no limits and a weight of 1 before.
  Quotas get(const std::string& project_id);
  void put(const std::string& project_id, const Quotas& quotas);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
