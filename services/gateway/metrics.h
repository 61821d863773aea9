#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>

namespace finetuned::postgres {
class Pool;
}

namespace finetuned::gateway {

struct Route;

/// What this gateway counts, and how the platform stands, for Prometheus. Labels come from the routes' templates and the
/// statuses that we answer, never from what a client sent: their number is bounded. Thread-safe.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void connection_opened();
  void connection_closed();

  /// A request from the end of its head until its answer has gone out, however that ends.
  class InFlight {
   public:
    explicit InFlight(Metrics& metrics) : metrics_(&metrics) { metrics_->request_begun(); }
    InFlight(InFlight&& other) noexcept : metrics_(std::exchange(other.metrics_, nullptr)) {}
    InFlight& operator=(InFlight&&) = delete;
    ~InFlight() {
      if (metrics_) metrics_->request_ended();
    }

   private:
    Metrics* metrics_;
  };

  /// An answer that begins to go out. `route` is null where none was found; `seconds` are those from the request's first
  /// byte. `rate_limited`: a rate limit refused it.
  void answered(const Route* route, int status, std::chrono::duration<double> seconds, bool rate_limited);

  /// Threads that call the object store, and calls of them that nobody waits for any more, as they are now.
  void object_calls(std::size_t busy, std::size_t given_up);

  /// How a handshake of TLS ended: one of a few words.
  void tls_handshake(const char* outcome);
  /// From now on new connections are shown a certificate that ends then.
  void certificate_loaded(std::chrono::sys_seconds not_after);

  /// All of it in Prometheus' text format. The platform's figures are read at most once in five seconds; where they
  /// cannot be read, `finetuned_database_up` is 0 and they are left out.
  std::string scrape(postgres::Pool& database);

 private:
  void request_begun();
  void request_ended();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::gateway
