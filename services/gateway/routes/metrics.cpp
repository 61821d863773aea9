#include "services/gateway/metrics.h"

#include <array>

#include "services/gateway/auth.h"
#include "services/gateway/object_calls.h"
#include "services/gateway/routes/routes.h"

namespace finetuned::gateway {

namespace {

/// A proxy on this machine connects from loopback for everybody; it says so in one of these.
bool forwarded(const Request& request) {
  constexpr std::array<std::string_view, 4> names{"forwarded", "x-forwarded-for", "x-real-ip", "via"};
  for (const auto name : names)
    if (request.header(name)) return true;
  return false;
}

/// Monitors on this machine need no key, others an admin key.
Response metrics(const Platform& platform, const Request& request) {
  const bool local = request.from_loopback && !forwarded(request);
  if (!local || request.header("authorization")) {
    Request asked = request;
    authenticate(platform.database, platform.keys, asked, Access::kAdmin);
  }
  Response response;
  response.headers.emplace_back("content-type", "text/plain; version=0.0.4; charset=utf-8");
  const ObjectCalls::Counts counts = platform.object_calls.counts();
  platform.metrics.object_calls(counts.busy, counts.given_up);
  response.body = platform.metrics.scrape(platform.database);
  return response;
}

}  // namespace

void add_metrics_route(Router& router, const Platform& platform) {
  router.add("GET", "/metrics", Access::kOpen, [&platform](const Request& request) { return metrics(platform, request); });
}

}  // namespace finetuned::gateway
