#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// A delivery under a lease, with all that a try needs.
struct ClaimedDelivery {
  std::string id;
  std::int64_t epoch = 0;
  std::string endpoint_id;
  std::string event_id;
  std::string about;  ///< the id of what it tells of: a job, or a spend alert
  std::string body;
  std::string url;
  std::string sealed_secret;
  std::int64_t attempts = 0;  ///< this one counted
  std::int64_t now = 0;       ///< the database's clock, for the signature
};

struct WebhookLimits {
  int in_flight_per_endpoint = 2;
  int in_flight_per_project = 6;
  std::int64_t lease_seconds = 60;
};

/// What came of a try.
struct DeliveryOutcome {
  bool delivered = false;
  bool gone = false;  ///< 410: the endpoint wants no more
  std::optional<std::int64_t> status;
  std::optional<std::string> error;
  std::optional<std::string> answer;  ///< the answer's first bytes, printable
  double retry_after_seconds = 0;     ///< of a failure
};

/// A delivering process's view of the deliveries. Leases are the queue's: `FOR UPDATE SKIP LOCKED`, an epoch, the
/// database's clock. A lease that ran out is claimed again, so a delivery may arrive twice, under the same event id.
/// All methods need the system scope.
class WebhookLeases {
 public:
  static constexpr int kGiveUpHours = 24;  ///< after the event
  static constexpr int kKeepDays = 7;      ///< what is through

  explicit WebhookLeases(postgres::Transaction& tx) : tx_(tx) {}

  /// The delivery that is due longest, of an endpoint and a project that have fewer in flight than `limits` says.
  std::optional<ClaimedDelivery> claim(const WebhookLimits& limits);
  /// Writes the outcome and ends the lease. False where the lease is lost: nothing is written. A failure whose next try
  /// would come too late is given up; `gone` also disables the endpoint.
  bool record(const ClaimedDelivery& delivery, const DeliveryOutcome& outcome);
  /// Gives up what is too old (an endpoint was disabled, or nobody delivered). At most `most`; how many.
  std::size_t give_up(int most);
  /// Deletes what has been through for kKeepDays. At most `most`; how many.
  std::size_t forget(int most);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
