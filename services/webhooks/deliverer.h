#pragma once

#include <chrono>
#include <memory>
#include <stop_token>

#include "base/sealing.h"
#include "services/webhooks/sender.h"
#include "storage/postgres/pool.h"
#include "storage/webhook_leases.h"

namespace finetuned::webhooks {

struct DelivererOptions {
  SenderOptions sender;
  storage::WebhookLimits limits;
  std::size_t threads = 16;  ///< tries at once
  std::chrono::milliseconds idle_pause{250};      ///< between looks when nothing is due
  std::chrono::milliseconds tidy_pause{60'000};  ///< between givings-up and deletions
};

/// Delivers what is due: claims a row, posts it outside of any transaction, and writes what came of it under the lease.
/// Several may run; a try that dies with its process is made again when its lease ends. At least once, in no order, the
/// event's id the same each time.
class Deliverer {
 public:
  /// `pool` outlives this.
  Deliverer(postgres::Pool& pool, base::SealingKey key, DelivererOptions options);
  ~Deliverer();
  Deliverer(const Deliverer&) = delete;
  Deliverer& operator=(const Deliverer&) = delete;

  /// Until `stop`, then until the tries in flight are through. What the database throws is logged, and tried again.
  void run(const std::stop_token& stop);

  /// Claims and delivers one on this thread. False where none is due. Throws what the database throws.
  bool deliver_one();
  /// Gives up what is too old and deletes what is long through. Bounded; the rest comes with the next call.
  void tidy();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::webhooks
