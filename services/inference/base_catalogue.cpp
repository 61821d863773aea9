#include "services/inference/base_catalogue.h"

#include <algorithm>

#include "base/errors.h"
#include "base/log.h"

namespace finetuned::inference {

std::shared_ptr<const KnownBase> BaseCatalogue::find(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const auto& base) { return base->row.name == name; });
  if (found != kept_.end()) {
    kept_.splice(kept_.begin(), kept_, found);
  } else {
    kept_.push_front(read(name));  // under the lock: many requests for one base read it once
    if (kept_.size() > kKept) kept_.pop_back();
  }
  return kept_.front();
}

std::shared_ptr<const KnownBase> BaseCatalogue::read(const std::string& name) {
  const auto row = pool_.transact(postgres::Scope::system(),
                                  [&](postgres::Transaction& tx) { return storage::ModelStore(tx).find_base(name); });
  if (!row)
    throw base::ApiError(404, "invalid_request_error", "model_not_found", "The base model '" + name + "' is not registered.", "model");
  try {
    return std::make_shared<const KnownBase>(
        KnownBase{*row, formats::read_model_config(row->directory), text::RowEncoder(row->directory)});
  } catch (const std::exception& error) {
    base::log_error("a base model cannot be read", {{"base", name}, {"why", error.what()}});
    throw base::ApiError(500, "server_error", "model_unavailable", "The files of the base model '" + name + "' cannot be read.");
  }
}

}  // namespace finetuned::inference
