#include <chrono>

#include "services/gateway/routes/routes.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"
#include "storage/redis/client.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::chrono::milliseconds kPatience{1000};

Response ready(const Platform& platform) {
  json::object checks;
  const auto check = [&checks](const char* name, bool good) {
    checks[name] = good ? "ok" : "unavailable";
    return good;
  };
  bool good = check("postgresql", platform.database.answers(kPatience));
  good &= check("redis", platform.redis.ping());
  good &= check("storage", platform.objects.writable());
  json::object body;
  body["status"] = good ? "ready" : "not_ready";
  body["checks"] = std::move(checks);
  return json_response(body, good ? 200 : 503);
}

}  // namespace

void add_health_routes(Router& router, const Platform& platform) {
  router.add("GET", "/healthz", Access::kOpen, [](const Request&) {
    json::object body;
    body["status"] = "ok";
    return json_response(body);
  });
  router.add("GET", "/readyz", Access::kOpen, [&platform](const Request&) { return ready(platform); });
}

}  // namespace finetuned::gateway
