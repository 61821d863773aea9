#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

inline constexpr const char* kFilesStream = "finetuned:files";
inline constexpr const char* kJobsStream = "finetuned:jobs";

struct OutboxMessage {
  std::int64_t seq = 0;
  std::string stream;
  std::string payload;  ///< the id of a file or job
};

/// Messages written in the same commit as the change they tell of. At least once, in order.
class OutboxStore {
 public:
  explicit OutboxStore(postgres::Transaction& tx) : tx_(tx) {}

  void add(const std::string& project_id, const std::string& stream, const std::string& payload);
  /// The oldest messages, locked until the transaction ends; others' are skipped. System scope.
  std::vector<OutboxMessage> take(int most);
  /// Deletes what was sent.
  void sent(const std::vector<OutboxMessage>& messages);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
