#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// Which job a request made, so that the same request sent again finds it. Kept for 24 hours. Project scope.
class IdempotencyStore {
 public:
  explicit IdempotencyStore(postgres::Transaction& tx) : tx_(tx) {}

  struct Earlier {
    std::string body_sha256;
    std::string job_id;
  };

  /// Takes the key until the transaction ends. False while another transaction has it: the same request is under way.
  bool try_lock(const std::string& project_id, const std::string& key);
  /// The request remembered under the key, if it is at most `age_seconds` old.
  std::optional<Earlier> find(const std::string& project_id, const std::string& key, std::int64_t age_seconds);
  /// Remembers the newest job of the key, and forgets the project's requests beyond 24 hours.
  void remember(const std::string& project_id, const std::string& key, const Earlier& request);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
