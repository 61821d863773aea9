#pragma once

#include <cstdint>
#include <string>

#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// What 1,000 trained tokens cost, in nano-dollars. A version never changes; a job keeps the one it was quoted at.
struct Price {
  std::int64_t version = 0;
  std::int64_t nano_per_1k = 0;
};

/// The price now valid for a base model and method (`supervised`): the model's own, else the one for all. Throws
/// ApiError 400 `method_not_available` where there is none.
Price current_price(postgres::Transaction& tx, const std::string& base_model, const std::string& method);
Price price_at_version(postgres::Transaction& tx, std::int64_t version);

}  // namespace finetuned::billing
