#include "base/errors.h"
#include "services/gateway/cost_page.h"
#include "services/gateway/routes/routes.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

using postgres::Transaction;

namespace {

constexpr int kMostResults = 10'000;  // of one page

std::string costs_json(Transaction& tx, const Request& request) {
  const auto now = tx.execute("SELECT extract(epoch FROM clock_timestamp())::bigint AS now").row(0).integer("now");
  CostPage page = read_cost_page(request, now);
  page.query.most_sums = kMostResults + 1;
  const auto sums = billing::costs(tx, request.principal.organization_id, page.query);
  if (sums.size() > kMostResults)
    throw base::bad_request("invalid_value", "The page has more than " + std::to_string(kMostResults) +
                                                 " results: ask for fewer days, or group by less.", "limit");
  return cost_page_json(page, sums);
}

}  // namespace

void add_cost_routes(Router& router, const Platform& platform) {
  router.add("GET", "/v1/organization/costs", Access::kAdmin, [&platform](const Request& request) {
    Response response;
    response.headers.emplace_back("content-type", "application/json");
    response.body = platform.database.transact(postgres::Scope::system(),
                                               [&](Transaction& tx) { return costs_json(tx, request); });
    return response;
  });
}

}  // namespace finetuned::gateway
