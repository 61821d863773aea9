#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// Objects to remove from the object store once they are due. What is being written stands here too, until the commit
/// that names it takes it off: a process that dies in between leaves nothing for good.
class RemovalStore {
 public:
  explicit RemovalStore(postgres::Transaction& tx) : tx_(tx) {}

  /// Due in `seconds`; an object that stands here already gets the new time. Not one that a donated worker's check may need
  /// (donation_evidence.h): that is added when it is let go.
  void add(const std::string& project_id, const std::string& object_id, std::int64_t seconds = 0);
  /// Takes the object off the list, for the row that names it from this commit on. False where it does not stand there
  /// any more: it is gone, or about to go.
  bool keep(const std::string& object_id);

  /// Until the transaction ends nothing is removed by others, who ask may_remove(): a backup copies what its rows name.
  void hold();
  /// False while somebody holds all removals. Else nobody does before the transaction ends. System scope.
  bool may_remove();

  /// Objects that are due, oldest first, locked until the transaction ends; others' are skipped. System scope.
  std::vector<std::string> take_due(int most);
  /// Strikes out what was removed.
  void removed(const std::vector<std::string>& object_ids);
  /// To be tried again in `seconds`.
  void postpone(const std::vector<std::string>& object_ids, std::int64_t seconds);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
