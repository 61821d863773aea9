#include "services/gateway/admin.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/usage_request.h"

namespace finetuned::gateway {

using postgres::Transaction;

namespace {

constexpr int kMostResults = 10'000;  // of one page

base::json::object completions_usage(Transaction& tx, const Request& request) {
  const auto now = tx.execute("SELECT extract(epoch FROM clock_timestamp())::bigint AS now").row(0).integer("now");
  UsagePage page = read_usage_page(request, now);
  if (page.nothing) return usage_page_shape(page, {});
  page.query.most_sums = kMostResults + 1;
  const auto sums = storage::InferenceUsageStore(tx).sums(request.principal.organization_id, page.query);
  if (sums.size() > kMostResults)
    throw base::bad_request("invalid_value", "The page has more than " + std::to_string(kMostResults) +
                                                 " results: ask for fewer buckets, or group by less.", "limit");
  return usage_page_shape(page, sums);
}

}  // namespace

void add_usage_routes(Router& router, const Platform& platform) {
  add_admin_route(router, platform, "GET", "/v1/organization/usage/completions", completions_usage);
}

}  // namespace finetuned::gateway
