#include "billing/prices.h"

#include <charconv>

#include "services/gateway/admin.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/job_request.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;

namespace {

constexpr std::size_t kMostName = 400;

json::object price_shape(const billing::PriceVersion& price) {
  json::object shape;
  shape["object"] = "organization.price";
  shape["id"] = price.id;
  shape["version"] = price.price.version;
  shape["model"] = or_null(price.of.base_model);
  shape["method"] = price.of.method;
  shape["nano_per_1k"] = std::to_string(price.price.nano_per_1k);
  shape["valid_from"] = price.valid_from;
  shape["valid_until"] = or_null(price.valid_until);
  shape["set_by"] = price.of.organization_id ? "organization" : "platform";
  return shape;
}

/// A string, as all that money is counted in.
std::int64_t read_price(const BodyFields& fields) {
  const json::value* given = fields.find("nano_per_1k");
  const std::string text = given && given->is_string() ? std::string(given->get_string()) : "";
  std::int64_t price = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), price);
  if (given && (error != std::errc() || end != text.data() + text.size() || price < 0 || price > billing::kMostNanoPer1k))
    fields.wrong("nano_per_1k", "must be a number of nano-dollars from 0 to " + std::to_string(billing::kMostNanoPer1k) + ", as a string");
  return fields.required("nano_per_1k", given ? std::optional(price) : std::nullopt);
}

json::object list_prices(Transaction& tx, const Request& request) {
  return cursor_list(billing::list_prices(tx, request.principal.organization_id, page_request(request, ListRules{.with_before = true})),
                     price_shape);
}

json::object create_price(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  billing::NewPrice asked;
  asked.nano_per_1k = read_price(fields);
  asked.of.base_model = fields.text("model", kMostName);
  asked.of.method = fields.text("method", kMostName).value_or(asked.of.method);
  asked.of.organization_id = request.principal.organization_id;
  asked.valid_from = fields.integer("valid_from", 0, billing::kLastBeginning);
  const billing::PriceVersion made = billing::add_price(tx, asked);
  const json::object shape = price_shape(made);
  json::object data = shape;
  for (const char* of_no_use : {"object", "id", "valid_until", "set_by"}) data.erase(of_no_use);
  audit(tx, request, "price.created", {{"id", made.id}, {"data", std::move(data)}});
  return shape;
}

}  // namespace

void add_price_routes(Router& router, const Platform& platform) {
  add_admin_route(router, platform, "GET", "/v1/organization/prices", list_prices);
  add_admin_create_route(router, platform, "/v1/organization/prices", create_price);
}

}  // namespace finetuned::gateway
