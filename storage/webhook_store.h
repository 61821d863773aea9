#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

inline constexpr int kMostWebhookEndpoints = 20;  ///< a project
inline constexpr int kMostWebhookTestsAnHour = 60;  ///< an endpoint

struct WebhookEndpoint {
  std::string id;  ///< `we-...`
  std::string project_id;
  std::string url;
  std::vector<std::string> events;  ///< in the order of their names
  std::optional<std::string> description;
  bool enabled = true;
  std::optional<std::string> disabled_reason;  ///< of a disabled one
  std::int64_t created_at = 0;
};

struct NewWebhookEndpoint {
  std::string id;
  std::string project_id;
  std::string url;
  std::vector<std::string> events;
  std::optional<std::string> description;
  std::string sealed_secret;
};

/// What an update leaves out stays.
struct WebhookEndpointChange {
  std::optional<std::string> url;
  std::optional<std::vector<std::string>> events;
  std::optional<std::optional<std::string>> description;
  std::optional<bool> enabled;
};

struct WebhookDelivery {
  std::string id;  ///< `whd-...`
  std::string event_id;
  std::string type;
  std::string state;  ///< pending, delivered, given_up
  std::int64_t attempts = 0;
  std::optional<std::int64_t> last_status;
  std::optional<std::string> last_error;
  std::optional<std::string> last_answer;
  std::optional<std::int64_t> next_attempt_at;  ///< of a pending one
  std::int64_t created_at = 0;
  std::optional<std::int64_t> delivered_at;
};

/// A project's endpoints and what became of their deliveries. Deliveries of job endings are inserted by a trigger on
/// `job` (migrations/0008_webhooks.sql).
class WebhookStore {
 public:
  explicit WebhookStore(postgres::Transaction& tx) : tx_(tx) {}

  /// False where the project has kMostWebhookEndpoints already.
  bool create(const NewWebhookEndpoint& endpoint);
  std::optional<WebhookEndpoint> find(const std::string& id);
  Page<WebhookEndpoint> list(const std::string& project_id, const PageRequest& request);
  /// False when there is no such endpoint; so for the next two. What waits for a disabled one waits until it is enabled
  /// or too old.
  bool update(const std::string& id, const WebhookEndpointChange& change);
  bool set_secret(const std::string& id, const std::string& sealed_secret);
  /// Of every project's endpoints, locked: id and sealed secret. System scope.
  std::vector<std::pair<std::string, std::string>> sealed_secrets();
  /// With its deliveries.
  bool remove(const std::string& id);

  enum class Queued { kYes, kOneWaits, kTooMany };
  /// Queues an event of type `webhook_endpoint.test`: one at a time, kMostWebhookTestsAnHour an hour.
  Queued queue_test(const WebhookEndpoint& endpoint, WebhookDelivery* queued);
  Page<WebhookDelivery> list_deliveries(const std::string& endpoint_id, const PageRequest& request);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
