#pragma once

#include <chrono>
#include <cstddef>
#include <stop_token>

#include "billing/verify.h"
#include "storage/postgres/pool.h"

namespace finetuned::metering {

/// What one reconciliation did and found.
struct Reconciliation {
  std::size_t settled = 0;  ///< ended jobs whose money a crash had left open
  billing::LedgerVerification verification;
};

/// Settles ended jobs that were left open, replays the ledger against its cached balances and usage against jobs, and
/// keeps a row of each reconciliation. Faults are logged as errors, one line each: nothing is repaired by itself.
class Metering {
 public:
  /// `pool` outlives this.
  Metering(postgres::Pool& pool, std::chrono::milliseconds pause);

  /// Until `stop`: a reconciliation each `pause`. What the database throws is logged, and tried again.
  void run(const std::stop_token& stop);

  /// Throws what the database throws.
  Reconciliation reconcile();

 private:
  postgres::Pool& pool_;
  std::chrono::milliseconds pause_;
};

}  // namespace finetuned::metering
