#pragma once

#include <chrono>
#include <stop_token>
#include <string>

#include "storage/postgres/pool.h"
#include "storage/preemption.h"
#include "storage/redis/client.h"

namespace finetuned::scheduler {

struct SchedulerOptions {
  std::chrono::milliseconds relay_pause{100};     ///< between looks at the outbox
  std::chrono::milliseconds admission_pause{1'000};
  std::chrono::milliseconds sweep_pause{5'000};
  int most_attempts = 3;  ///< a job that crashed so many workers fails
  storage::PreemptionRule preemption;  ///< after 0 seconds: never
};

/// Moves the outbox to Redis, admits jobs whose files are checked by now, takes jobs back from silent workers, and has jobs make
/// room for projects that are kept waiting.
///
/// Several may run: each duty is one transaction under its own advisory lock, and who finds it taken passes it over. One that
/// dies in a duty frees it at once, one that is stopped in it within kDutySeconds. A
/// job's state never depends on Redis: where Redis is away or has lost its streams, the roles' own sweeps find the
/// work, and the streams are filled again from PostgreSQL.
class Scheduler {
 public:
  static constexpr int kDutySeconds = 5;  ///< without a word from who does a duty, before another may take it

  /// `pool` and `redis` outlive this.
  Scheduler(postgres::Pool& pool, redis::Client& redis, SchedulerOptions options);

  /// Until `stop`: every duty at its pace. What the database throws is logged, and tried again.
  void run(const std::stop_token& stop);

  /// Each duty once. They throw what the database throws.
  void relay_outbox();
  void admit_waiting();
  void sweep_leases();
  void preempt();
  /// Fills the jobs' stream from PostgreSQL where Redis came back empty.
  void rebuild_streams();

 private:
  postgres::Pool& pool_;
  redis::Client& redis_;
  SchedulerOptions options_;
};

}  // namespace finetuned::scheduler
