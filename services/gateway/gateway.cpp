#include "services/gateway/gateway.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "base/log.h"
#include "base/machine.h"
#include "base/offload.h"
#include "base/sealing.h"
#include "base/settings.h"
#include "services/gateway/auth.h"
#include "services/gateway/forecasts.h"
#include "services/gateway/generation.h"
#include "services/gateway/job_creations.h"
#include "services/gateway/job_reads.h"
#include "services/gateway/limits.h"
#include "services/gateway/metrics.h"
#include "services/gateway/object_calls.h"
#include "services/gateway/platform.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/server.h"
#include "services/gateway/tls_context.h"
#include "services/gateway/watched_store.h"
#include "storage/objects/open_store.h"
#include "storage/postgres/pool.h"
#include "storage/redis/client.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kMostQueuedWork = 4096;
constexpr std::size_t kMostQueuedObjectCalls = 1024;  // an upload that waits has a megabyte
constexpr std::uint64_t kOtherDescriptors = 256;  // of databases, Redis and open files

/// A call is not given up before it has failed by the store's own account.
ObjectCalls::Patience storage_patience(const base::Settings& settings) {
  const std::chrono::milliseconds patience = std::chrono::seconds(settings.gateway.storage_timeout_seconds);
  return {.for_a_thread = patience, .for_a_call = std::max(patience, objects::longest_silence(settings))};
}

/// Each of these threads may be in a transaction.
std::size_t most_transactions(const base::Settings::Gateway& settings) {
  return static_cast<std::size_t>(settings.blocking_threads) + static_cast<std::size_t>(settings.storage_threads);
}

postgres::PoolOptions pool_options(const base::Settings& settings) {
  postgres::PoolOptions options;
  options.url = settings.database.url;
  options.connections = std::max(static_cast<std::size_t>(settings.database.pool_size), most_transactions(settings.gateway));
  options.statement_timeout = std::chrono::milliseconds(settings.database.statement_timeout_ms);
  options.application_name = "finetuned gateway";
  return options;
}

redis::Address redis_address(const base::Settings& settings) {
  redis::Address address;
  address.socket = settings.redis.socket;
  address.host = settings.redis.host;
  address.port = settings.redis.port;
  address.timeout = std::chrono::milliseconds(settings.redis.timeout_ms);
  return address;
}

/// Limits are counted on a connection of their own that is given up sooner: every request waits for it.
redis::Address limits_address(const base::Settings& settings) {
  redis::Address address = redis_address(settings);
  address.timeout = std::chrono::milliseconds(settings.gateway.limits_timeout_ms);
  return address;
}

DoorRates door_rates(const base::Settings::Gateway& settings) {
  return {settings.requests_per_minute_per_key, settings.requests_per_minute_per_project,
          settings.tokens_per_minute_per_project};
}

/// As many as the settings allow, or as there are file descriptors for.
std::size_t most_connections(const base::Settings::Gateway& settings) {
  const auto asked = static_cast<std::uint64_t>(settings.max_connections);
  const std::uint64_t descriptors = base::raise_descriptor_limit();
  if (descriptors >= asked + kOtherDescriptors) return asked;
  const std::uint64_t possible = descriptors > 2 * kOtherDescriptors ? descriptors - kOtherDescriptors : descriptors / 2;
  base::log_warn("fewer connections are served than gateway.max_connections says: raise the hard limit on file descriptors "
                 "(ulimit -Hn, LimitNOFILE=)",
                 {{"served", possible}, {"descriptors", descriptors}, {"needed", asked + kOtherDescriptors}});
  return possible;
}

DoorLimits door_limits(const base::Settings::Gateway& settings) {
  DoorLimits limits;
  limits.head = std::chrono::seconds(settings.header_timeout_seconds);
  limits.idle = std::chrono::seconds(settings.idle_timeout_seconds);
  limits.request = std::chrono::seconds(settings.request_timeout_seconds);
  return limits;
}

std::unique_ptr<Tls> make_tls(const base::Settings::Gateway& settings, Metrics& metrics) {
  if (!wants_tls(settings)) return nullptr;
  return std::make_unique<Tls>(settings, metrics);
}

}  // namespace

/// Begins it. The store may be away, or hang; the gateway serves what needs none.
void remove_leftovers(objects::ObjectStore& store, ObjectCalls& calls) {
  auto remove = [&store] {
    try {
      return store.remove_leftovers();
    } catch (const objects::StorageFault& fault) {
      base::log_warn("half-written objects could not be removed", {{"why", fault.detail}});
      return std::size_t{0};
    }
  };
  auto complete = [](std::optional<std::size_t> removed, const std::exception_ptr&) {
    if (removed.value_or(0) > 0) base::log_info("half-written objects were removed", {{"objects", static_cast<std::uint64_t>(*removed)}});
  };
  calls.begin(std::move(remove), std::move(complete));
}

/// In the order of who outlives whom: the pool goes first, finishing the work that uses the door and the stores; then what has
/// sessions on `io`, which then destroys the coroutines that are left over, whose uploads still reach the object store.
struct Gateway::State {
  State(const base::Settings& all, std::unique_ptr<objects::ObjectStore> object_store)
      : settings(all.gateway), database(pool_options(all)), redis(redis_address(all)), store(std::move(object_store)),
        object_calls(static_cast<std::size_t>(settings.storage_threads), kMostQueuedObjectCalls,
                     storage_patience(all)),
        objects(*store, object_calls), webhooks_key(base::webhooks_key(all)), keys(clock), limiter(limits_address(all), clock),
        directory(redis), generations(directory, static_cast<std::size_t>(all.gateway.max_generations),
                                      std::chrono::seconds(all.gateway.generation_seconds)),
        job_creations(platform, pool),
        platform{database, redis, objects, object_calls, static_cast<std::uint64_t>(all.gateway.max_upload_bytes), webhooks_key, generations, keys, limiter,
                 door_rates(all.gateway), metrics, forecasts, job_reads, job_creations},
        router(make_router(platform, static_cast<std::uint64_t>(settings.max_json_bytes))),
        tls(make_tls(settings, metrics)),
        door{router, [this](Request& request, Access access) { admit(request, access); },
             [this](Request& request, Access access) { return admit_at_once(request, access); }, pool, object_calls, metrics, door_limits(settings),
             tls.get(), all.log_level == base::LogLevel::kDebug, false},
        io(static_cast<std::size_t>(settings.io_threads)), job_reads(database, all.database.url, forecasts, pool, io),
        pool(static_cast<std::size_t>(settings.blocking_threads), kMostQueuedWork),
        server(io, door, settings.address, settings.port, most_connections(settings)) {}

  /// Work of the object store's threads goes on in the pool, and the other way round: they end while both are here.
  ~State() { object_calls.close(); }

  void admit(Request& request, Access access) {
    authenticate(database, keys, request, access);
    take_request(limiter, platform.rates, request);
  }

  bool admit_at_once(Request& request, Access access) {
    return authenticate_at_once(keys, request, access) && take_request_at_once(limiter, platform.rates, request);
  }

  base::Settings::Gateway settings;
  postgres::Pool database;
  redis::Client redis;
  std::unique_ptr<objects::ObjectStore> store;
  ObjectCalls object_calls;
  WatchedStore objects;
  base::SealingKey webhooks_key;
  base::SystemClock clock;
  KeyCache keys;
  RateLimiter limiter;
  inference::Directory directory;
  Generations generations;
  Metrics metrics;
  Forecasts forecasts;
  JobCreations job_creations;
  Platform platform;
  Router router;
  std::unique_ptr<Tls> tls;
  Door door;
  SocketThreads io;
  JobReads job_reads;
  base::BlockingPool pool;
  Server server;
};

Gateway::Gateway(const base::Settings& settings) : Gateway(settings, objects::open_store(settings)) {}
Gateway::Gateway(const base::Settings& settings, std::unique_ptr<objects::ObjectStore> store)
    : state_(std::make_unique<State>(settings, std::move(store))) {}
Gateway::~Gateway() = default;

bool Gateway::reload() {
  if (state_->tls) return state_->tls->reload();
  base::log_info("there is no certificate to load anew");
  return true;
}

std::uint16_t Gateway::port() const { return state_->server.port(); }
const Router& Gateway::router() const { return state_->router; }

bool Gateway::serve(const std::stop_token& stop) {
  remove_leftovers(state_->objects, state_->object_calls);
  state_->server.start();
  state_->io.start();
  base::log_info("listening", {{"address", state_->settings.address}, {"port", static_cast<int>(port())}, {"tls", state_->tls ? "on" : "off"}});

  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait(lock, stop, [] { return false; });

  base::log_info("draining");
  const bool drained = state_->server.drain(std::chrono::seconds(state_->settings.drain_seconds));
  state_->io.stop();
  base::log_info(drained ? "drained" : "some requests were cut off");
  return drained;
}

}  // namespace finetuned::gateway
