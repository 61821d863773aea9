#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// Whose request it was: a project's, or without one an organization's administrator's.
struct AnswerOwner {
  std::string organization_id;
  std::optional<std::string> project_id;
};

/// Which job a request made, or what it was answered, so that the same request sent again finds it. Kept for 24 hours. In
/// the project's scope; an administrator's in the system's.
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
  /// The same of several keys.
  std::vector<bool> try_lock_all(const std::string& project_id, const std::vector<std::string>& keys);
  /// Remembers the newest job of the key; put off (execute_later), as forget_old is.
  void remember(const std::string& project_id, const std::string& key, const Earlier& request);
  /// Forgets the project's requests beyond 24 hours.
  void forget_old(const std::string& project_id);

  struct EarlierAnswer {
    std::string request_sha256;
    std::string sealed_answer;
  };
  std::optional<EarlierAnswer> find_answer(const AnswerOwner& owner, const std::string& key, std::int64_t age_seconds);
  /// Remembers the newest answer of the key, and forgets answers in sight beyond 24 hours.
  void remember_answer(const AnswerOwner& owner, const std::string& key, const EarlierAnswer& answer);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
