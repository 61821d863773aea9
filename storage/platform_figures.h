#pragma once

#include <cstdint>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// How the whole platform stands, over all projects: what a monitor draws.
struct PlatformFigures {
  std::int64_t queued_jobs = 0;
  std::int64_t oldest_queued_seconds = 0;  ///< how long the job that waited longest has waited; 0 where none waits
  std::int64_t running_jobs = 0;
  std::int64_t open_holds = 0;             ///< of jobs that are not settled
  std::int64_t trained_tokens = 0;         ///< billed ones of all time: it never falls
  std::int64_t webhooks_outstanding = 0;   ///< neither delivered nor given up
  std::int64_t checks_waiting = 0;         ///< of donated workers' training, that are not decided
  std::int64_t checks_disagreed = 0;       ///< of all time
};

/// One statement, which reads every job once. System scope.
PlatformFigures read_platform_figures(postgres::Transaction& tx);

}  // namespace finetuned::storage
