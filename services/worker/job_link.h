#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "storage/donation_evidence.h"
#include "storage/job.h"
#include "storage/job_leases.h"
#include "storage/postgres/pool.h"

namespace finetuned::worker {

/// The job is another's now, or soon will be: whoever sees this abandons it and writes nothing more.
struct LeaseLost : std::runtime_error {
  explicit LeaseLost(const std::string& job_id) : std::runtime_error("the lease of " + job_id + " was lost") {}
};

struct LinkOptions {
  std::int64_t lease_seconds = 30;
  std::chrono::milliseconds heartbeat{5'000};  ///< between renewals of the lease
  std::chrono::milliseconds peek{500};         ///< between looks for a request to cancel, to pause or to make room
  std::chrono::milliseconds flush{250};        ///< an event waits this long at most before it is committed
  std::size_t most_pending = 20'000;           ///< beyond this many events waiting, post() waits
};

/// How far a run is, for the job's row.
struct Progress {
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::int64_t trained_tokens = 0;
  std::optional<std::chrono::duration<double>> left;  ///< estimated, until its end
};

/// One running job's tie to the database, on a thread of its own: renews the lease, sees requests to cancel, to pause and to make room, and
/// commits events in order, in batches. The trainer never waits for the database. While that is away everything is kept and
/// tried again, until the lease is over by this machine's own monotonic clock.
class JobLink {
 public:
  /// `claimed_at` was read before the claim was asked for, so that the local end of the lease never lies behind the
  /// database's. `pool` outlives this.
  JobLink(postgres::Pool& pool, const storage::ClaimedJob& claimed, std::chrono::steady_clock::time_point claimed_at,
          LinkOptions options);
  /// Joins the thread; events not flushed are dropped.
  ~JobLink();
  JobLink(const JobLink&) = delete;
  JobLink& operator=(const JobLink&) = delete;

  /// True once the lease is over, by the database or by the watchdog.
  bool lost() const;
  bool cancel_requested() const;
  bool pause_requested() const;
  bool preempt_requested() const;  ///< another project's turn has come

  /// Queues an event. Any thread.
  void post(storage::NewEvent event);
  /// Queues a metrics event with the progress it stands for.
  void post(storage::NewEvent event, const Progress& progress);

  /// How far the run is, without an event.
  void report(const Progress& progress);

  /// Returns when everything posted before is committed. Throws LeaseLost.
  void flush();

  /// Runs `work` in a transaction of the job's project, or of a donated worker in the system's scope, until it is committed: tries again while the database is away
  /// and the lease is held. `work` returns false where the lease is lost. A commit of unknown outcome is tried again
  /// too, unless `committed` then answers true. Throws LeaseLost, and what `work` throws.
  void write(const std::function<bool(postgres::Transaction&)>& work,
             const std::function<bool(postgres::Transaction&)>& committed);

  const storage::JobLease& lease() const;
  /// Of a donated worker: its stretch, which earns.
  const std::optional<std::string>& stretch() const;
  /// How its run is laid out, before the first that it says of it.
  void set_layout(const storage::RunLayout& layout);
  /// Writes down what a donated worker says of its run, in the transaction that commits it; nothing of another.
  void tell(postgres::Transaction& tx, const storage::Evidence& said) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::worker
