#include "billing/prices.h"

#include <chrono>

#include "base/clock.h"
#include "base/errors.h"
#include "base/expects.h"
#include "storage/cursor.h"
#include "storage/model_store.h"

namespace finetuned::billing {

namespace {

constexpr std::int64_t kPricesLock = 0x66740016;  // one version at a time, in the order of their times

// Of the platform's prices the ones that others gave themselves are no part.
constexpr char kVersions[] =
    "(SELECT p.version AS seq, 'price-' || p.version AS id, p.version, p.organization_id, p.base_model, p.method, p.nano_per_1k,"
    " floor(extract(epoch FROM p.valid_from))::bigint AS valid_from, (SELECT floor(extract(epoch FROM min(n.valid_from)))::bigint"
    "  FROM price n WHERE n.organization_id IS NOT DISTINCT FROM p.organization_id AND n.base_model IS NOT DISTINCT FROM p.base_model"
    "  AND n.method = p.method AND n.valid_from > p.valid_from) AS valid_until FROM price p) price";

PriceVersion read_version(const postgres::Row& row) {
  return {.id = row.text("id"),
          .price = {row.integer("version"), row.integer("nano_per_1k")},
          .of = {row.maybe_text("organization_id"), row.maybe_text("base_model"), row.text("method")},
          .valid_from = row.integer("valid_from"),
          .valid_until = row.maybe_integer("valid_until")};
}

std::string time_of(std::int64_t second) {
  return base::iso8601_utc(std::chrono::system_clock::from_time_t(second));
}

/// The last version of the same, which the new one has to follow.
void check_beginning(postgres::Transaction& tx, const NewPrice& price) {
  if (price.valid_from && *price.valid_from > kLastBeginning)
    throw base::bad_request("invalid_value", "valid_from must be at most " + time_of(kLastBeginning) + ".", "valid_from");
  if (price.valid_from &&
      tx.execute("SELECT to_timestamp($1::bigint) < clock_timestamp() - interval '1 second' AS past", {*price.valid_from})
          .row(0)
          .boolean("past"))
    throw base::bad_request("invalid_value", "valid_from " + time_of(*price.valid_from) + " is past: what was quoted since then would have "
                            "had another price. Leave it out for a price from now on.", "valid_from");
  const auto last = tx.execute(
      "SELECT version, floor(extract(epoch FROM valid_from))::bigint AS since FROM price"
      " WHERE organization_id IS NOT DISTINCT FROM $1::text AND base_model IS NOT DISTINCT FROM $2::text AND method = $3"
      " AND valid_from >= coalesce(to_timestamp($4::bigint), clock_timestamp()) ORDER BY valid_from DESC LIMIT 1",
      {price.of.organization_id, price.of.base_model, price.of.method, price.valid_from});
  if (!last.empty())
    throw base::bad_request("invalid_value",
                            "Version " + std::to_string(last.row(0).integer("version")) + " of this price begins at " +
                                time_of(last.row(0).integer("since")) + " and never changes: choose a later valid_from.",
                            "valid_from");
}

}  // namespace

Price current_price(postgres::Transaction& tx, const std::string& organization_id, const std::string& base_model,
                    const std::string& method) {
  const auto rows = tx.execute(
      "SELECT version, nano_per_1k FROM price WHERE (organization_id = $1 OR organization_id IS NULL)"
      " AND (base_model = $2 OR base_model IS NULL) AND method = $3 AND valid_from <= clock_timestamp()"
      " ORDER BY organization_id IS NULL, base_model IS NULL, valid_from DESC, version DESC LIMIT 1",
      {organization_id, base_model, method});
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

PriceVersion add_price(postgres::Transaction& tx, const NewPrice& price) {
  if (price.nano_per_1k < 0 || price.nano_per_1k > kMostNanoPer1k)
    throw base::bad_request("invalid_value", "nano_per_1k must be from 0 to " + std::to_string(kMostNanoPer1k) + ", a million dollars.",
                            "nano_per_1k");
  if (price.of.method != kSupervised && price.of.method != kInferenceInput && price.of.method != kInferenceOutput)
    throw base::bad_request("invalid_value", "'" + price.of.method + "' has no price here: supervised, inference_input and inference_output do.",
                            "method");
  if (price.of.base_model && !storage::ModelStore(tx).find_base(*price.of.base_model))
    throw base::bad_request("invalid_value", "'" + *price.of.base_model + "' is no base model here.", "model");
  tx.execute("SELECT pg_advisory_xact_lock($1)", {kPricesLock});
  check_beginning(tx, price);
  const auto made = tx.execute(
      "INSERT INTO price (organization_id, base_model, method, nano_per_1k, valid_from)"
      " VALUES ($1, $2, $3, $4, coalesce(to_timestamp($5::bigint), clock_timestamp())) RETURNING version,"
      " floor(extract(epoch FROM valid_from))::bigint AS since",
      {price.of.organization_id, price.of.base_model, price.of.method, price.nano_per_1k, price.valid_from});
  const std::int64_t version = made.row(0).integer("version");
  return {.id = "price-" + std::to_string(version),
          .price = {version, price.nano_per_1k},
          .of = price.of,
          .valid_from = made.row(0).integer("since"),
          .valid_until = std::nullopt};
}

storage::Page<PriceVersion> list_prices(postgres::Transaction& tx, const std::optional<std::string>& organization_id,
                                        const storage::PageRequest& request) {
  return storage::read_listing(tx, request,
                               {.table = "price", .key = "id", .columns = "*", .from = kVersions,
                                .owner = "$1::text IS NULL OR organization_id IS NULL OR organization_id = $1", .shown = "",
                                .owner_values = {organization_id}},
                               read_version);
}

}  // namespace finetuned::billing
