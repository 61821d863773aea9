#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// An object that a row needs.
struct NamedObject {
  std::string id;
  std::string named_by;  ///< `file file-...`, `checkpoint ftckpt-...`: one of those that do
  std::optional<std::int64_t> bytes;   ///< where a row tells
  std::optional<std::string> sha256;   ///< hex, where a row tells
};

/// All that rows need, each object once, by their ids: of files (deleted ones too, while an unfinished job wants them), pending
/// uploads' parts, checkpoints, models, what stopped jobs go on from, and states that
/// donated workers are checked by. System scope.
std::vector<NamedObject> named_objects(postgres::Transaction& tx);

/// Those of `ids` that a row needs, or that stand on the list of removals (removal_store.h). System scope.
std::vector<std::string> known_objects(postgres::Transaction& tx, const std::vector<std::string>& ids);

}  // namespace finetuned::storage
