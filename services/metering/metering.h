#pragma once

#include <chrono>
#include <cstddef>
#include <stop_token>
#include <string>

#include "base/signing.h"
#include "billing/verify.h"
#include "storage/postgres/pool.h"

namespace finetuned::metering {

/// What one reconciliation did and found.
struct Reconciliation {
  std::size_t settled = 0;  ///< ended jobs whose money a crash had left open
  billing::LedgerVerification verification;
};

struct MeteringOptions {
  std::chrono::milliseconds reconcile_pause{60'000};
  std::chrono::milliseconds seal_pause{2'000};
  std::chrono::milliseconds alert_pause{10'000};
};

/// Keeps the books: tells of reached spend alerts; gives back what forgotten requests hold; ends what archived projects left; seals new transfers into the chains and signs their ends; settles ended jobs that were left open, replays
/// the ledger against its cached balances and usage against jobs, and keeps a row of each reconciliation. Faults are logged as
/// errors, one line each: nothing is repaired by itself. Several may run: one seals at a time.
class Metering {
 public:
  /// `pool` outlives this.
  Metering(postgres::Pool& pool, MeteringOptions options, base::SigningKey key, billing::HeadFiles heads);

  /// Until `stop`, and seals once more then. What the database throws is logged, and tried again.
  void run(const std::stop_token& stop);

  /// Each duty once. They throw what the database throws.
  std::size_t seal();
  std::size_t tell_alerts();
  /// What requests hold whose gateway died (billing/inference_charge.h); at most 1,000.
  std::size_t expire_holds();
  /// Jobs of archived projects that are not ended yet (billing/archiving.h); at most 1,000.
  std::size_t end_archived_jobs();
  /// Hashes what was sealed since the last one again; all of the chains in the first one of this object and of each day (UTC).
  Reconciliation reconcile();

 private:
  billing::LedgerVerification verify();

  postgres::Pool& pool_;
  MeteringOptions options_;
  base::SigningKey key_;
  billing::HeadFiles heads_;
  billing::ChainPlaces verified_;  ///< up to where the chains were found whole
  bool latest_is_behind_ = true;   ///< whether the file of the chains' ends is to be written
  std::string verified_on_;        ///< the day that they were walked from their beginnings
};

}  // namespace finetuned::metering
