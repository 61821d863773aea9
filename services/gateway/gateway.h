#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>

namespace finetuned::base {
struct Settings;
}
namespace finetuned::objects {
class ObjectStore;
}

namespace finetuned::gateway {

class Router;

/// The API's HTTP server with all that it needs: a database pool, Redis, the object store, threads.
class Gateway {
 public:
  /// Binds the port; connects to nothing yet, so it starts while PostgreSQL or Redis is away (requests then get 503,
  /// and /readyz says so). Throws UsageError where the address cannot be had, ConfigError where the certificate or its key is at fault,
  /// FileError where storage cannot.
  explicit Gateway(const base::Settings& settings);
  /// The same on a store that the settings do not name.
  Gateway(const base::Settings& settings, std::unique_ptr<objects::ObjectStore> store);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  /// The port that it listens on: the system's choice where the settings say 0.
  std::uint16_t port() const;

  /// What it answers.
  const Router& router() const;

  /// Reads the certificate and its key anew, where there is TLS: connections that come from now on use them. Where they are
  /// at fault, those before stay in use, and the log says why; false then. Any thread.
  bool reload();

  /// Serves until `stop`, then drains: accepts nothing more, answers what is in flight for at most
  /// `gateway.drain_seconds`, then closes what is left. Returns whether all was answered. Blocks; call once.
  bool serve(const std::stop_token& stop);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::gateway
