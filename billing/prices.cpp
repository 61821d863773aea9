#include "billing/prices.h"

#include "base/errors.h"
#include "base/expects.h"

namespace finetuned::billing {

Price current_price(postgres::Transaction& tx, const std::string& base_model, const std::string& method) {
  const auto rows = tx.execute(
      "SELECT version, nano_per_1k FROM price WHERE (base_model = $1 OR base_model IS NULL) AND method = $2"
      " AND valid_from <= clock_timestamp() ORDER BY base_model IS NULL, valid_from DESC, version DESC LIMIT 1",
      {base_model, method});
  if (rows.empty())
    throw base::bad_request("method_not_available",
                            "Method '" + method + "' has no price for model '" + base_model + "' here.", "method");
  return {rows.row(0).integer("version"), rows.row(0).integer("nano_per_1k")};
}

Price price_at_version(postgres::Transaction& tx, std::int64_t version) {
  const auto rows = tx.execute("SELECT version, nano_per_1k FROM price WHERE version = $1", {version});
  base::expects(!rows.empty(), "a price version that a job names");
  return {rows.row(0).integer("version"), rows.row(0).integer("nano_per_1k")};
}

}  // namespace finetuned::billing
