#include "services/gateway/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/log.h"
#include "services/gateway/router.h"
#include "storage/platform_figures.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace {

using Steady = std::chrono::steady_clock;

constexpr std::chrono::seconds kFresh{5};
constexpr std::chrono::milliseconds kPatience{3000};  // a scrape is given up after ten seconds, by default

const prometheus::Histogram::BucketBoundaries& latency_bounds() {
  static const prometheus::Histogram::BucketBoundaries bounds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                              0.25,  0.5,    1,     2.5,  5,     10,   30};
  return bounds;
}

template <class Builder>
auto& family(Builder builder, prometheus::Registry& registry, const char* name, const char* help) {
  return builder.Name(name).Help(help).Register(registry);
}

prometheus::Gauge& gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return family(prometheus::BuildGauge(), registry, name, help).Add({});
}

prometheus::Counter& counter(prometheus::Registry& registry, const char* name, const char* help) {
  return family(prometheus::BuildCounter(), registry, name, help).Add({});
}

prometheus::Labels labels_of(const Route* route) {
  if (!route) return {{"method", "other"}, {"route", "none"}};
  return {{"method", route->method}, {"route", route->path_template}};
}

/// What this process counts.
struct Traffic {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests =
      family(prometheus::BuildCounter(), registry, "finetuned_http_requests_total", "Requests answered, by route and status");
  prometheus::Family<prometheus::Histogram>& latency = family(
      prometheus::BuildHistogram(), registry, "finetuned_http_request_seconds", "From a request's first byte until its answer begins");
  prometheus::Gauge& in_flight =
      gauge(registry, "finetuned_http_requests_in_flight", "Requests whose answer has not gone out whole");
  prometheus::Gauge& connections = gauge(registry, "finetuned_http_connections", "Open connections");
  prometheus::Counter& rate_limited =
      counter(registry, "finetuned_http_rate_limited_total", "Requests that a rate limit refused");
  prometheus::Gauge& object_threads_busy =
      gauge(registry, "finetuned_object_threads_busy", "Threads in work on the object store, of gateway.storage_threads");
  prometheus::Gauge& object_calls_abandoned =
      gauge(registry, "finetuned_object_calls_abandoned", "Calls on the object store that did not answer in time and have not returned");
  prometheus::Family<prometheus::Counter>& handshakes = family(prometheus::BuildCounter(), registry, "finetuned_tls_handshakes_total",
                                                               "TLS handshakes by how they ended");
  prometheus::Family<prometheus::Gauge>& certificate_expiry =
      family(prometheus::BuildGauge(), registry, "finetuned_tls_certificate_expiry_timestamp_seconds",
             "When the certificate of new connections expires, in Unix time");
  prometheus::Gauge& database_up =
      gauge(registry, "finetuned_database_up", "1 where PostgreSQL gave the platform's figures");
};

/// A route's part of it, so that an answer need not be looked up by its labels.
struct RouteTraffic {
  prometheus::Histogram& latency;
  std::map<int, prometheus::Counter*> requests;  ///< by status
};

/// What the database says of the whole platform, whichever gateway is asked.
struct Figures {
  void show(const storage::PlatformFigures& figures) {
    queued.Set(static_cast<double>(figures.queued_jobs));
    oldest.Set(static_cast<double>(figures.oldest_queued_seconds));
    running.Set(static_cast<double>(figures.running_jobs));
    holds.Set(static_cast<double>(figures.open_holds));
    webhooks.Set(static_cast<double>(figures.webhooks_outstanding));
    checks.Set(static_cast<double>(figures.checks_waiting));
    disagreed.Set(static_cast<double>(figures.checks_disagreed));
    const double more = static_cast<double>(figures.trained_tokens) - tokens.Value();
    if (more > 0) tokens.Increment(more);
  }

  prometheus::Registry registry;
  prometheus::Gauge& queued = gauge(registry, "finetuned_jobs_queued", "Jobs that wait for a worker");
  prometheus::Gauge& oldest =
      gauge(registry, "finetuned_jobs_queue_oldest_seconds", "How long the first job of the queue has waited");
  prometheus::Gauge& running = gauge(registry, "finetuned_jobs_running", "Jobs that a worker has");
  prometheus::Gauge& holds = gauge(registry, "finetuned_holds_open", "Amounts held for jobs that are not settled");
  prometheus::Counter& tokens = counter(registry, "finetuned_trained_tokens_total", "Billed tokens of all jobs");
  prometheus::Gauge& webhooks =
      gauge(registry, "finetuned_webhooks_outstanding", "Events neither delivered nor given up");
  prometheus::Gauge& checks =
      gauge(registry, "finetuned_donated_checks_open", "Checks of donated workers' training that are not decided");
  prometheus::Gauge& disagreed =
      gauge(registry, "finetuned_donated_checks_disagreed", "Checks of donated workers' training that came out otherwise");
};

std::optional<storage::PlatformFigures> read_figures(postgres::Pool& database) {
  try {
    return database.transact(postgres::Scope::system(), storage::read_platform_figures, kPatience);
  } catch (const std::exception& error) {
    base::log_warn("the platform's figures could not be read", {{"error", error.what()}});
    return std::nullopt;
  }
}

}  // namespace

struct Metrics::State {
  RouteTraffic& of(const Route* route) {
    const auto found = routes.find(route);
    if (found != routes.end()) return found->second;
    return routes.try_emplace(route, RouteTraffic{traffic.latency.Add(labels_of(route), latency_bounds()), {}}).first->second;
  }

  Traffic traffic;
  std::mutex routes_mutex;  // of `routes`
  std::unordered_map<const Route*, RouteTraffic> routes;

  std::mutex mutex;  // of what follows; held while the database is asked, so that one asks for all who wait
  Figures figures;
  std::optional<Steady::time_point> asked;
  bool known = false;
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

void Metrics::connection_opened() { state_->traffic.connections.Increment(); }
void Metrics::connection_closed() { state_->traffic.connections.Decrement(); }
void Metrics::request_begun() { state_->traffic.in_flight.Increment(); }
void Metrics::request_ended() { state_->traffic.in_flight.Decrement(); }

void Metrics::object_calls(std::size_t busy, std::size_t given_up) {
  state_->traffic.object_threads_busy.Set(static_cast<double>(busy));
  state_->traffic.object_calls_abandoned.Set(static_cast<double>(given_up));
}

void Metrics::tls_handshake(const char* outcome) { state_->traffic.handshakes.Add({{"outcome", outcome}}).Increment(); }
void Metrics::certificate_loaded(std::chrono::sys_seconds not_after) {
  state_->traffic.certificate_expiry.Add({}).Set(static_cast<double>(not_after.time_since_epoch().count()));
}

void Metrics::answered(const Route* route, int status, std::chrono::duration<double> seconds, bool rate_limited) {
  {
    const std::lock_guard lock(state_->routes_mutex);
    RouteTraffic& counted = state_->of(route);
    counted.latency.Observe(seconds.count());
    prometheus::Counter*& requests = counted.requests[status];
    if (!requests) {
      prometheus::Labels labels = labels_of(route);
      labels.emplace("status", std::to_string(status));
      requests = &state_->traffic.requests.Add(labels);
    }
    requests->Increment();
  }
  if (rate_limited) state_->traffic.rate_limited.Increment();
}

std::string Metrics::scrape(postgres::Pool& database) {
  const std::lock_guard lock(state_->mutex);
  const auto now = Steady::now();
  if (!state_->asked || now - *state_->asked >= kFresh) {
    const auto read = read_figures(database);
    if (read) state_->figures.show(*read);
    state_->known = read.has_value();
    state_->asked = Steady::now();
    state_->traffic.database_up.Set(state_->known ? 1 : 0);
  }
  const prometheus::TextSerializer serializer;
  std::string text = serializer.Serialize(state_->traffic.registry.Collect());
  if (state_->known) text += serializer.Serialize(state_->figures.registry.Collect());
  return text;
}

}  // namespace finetuned::gateway
