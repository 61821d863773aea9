#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "storage/queue_view.h"

namespace finetuned::billing {

/// Why a queued job does not run yet; the first of these that holds.
enum class WaitReason { kNoWorkerAlive, kRunningJobsQuota, kBehindOwnJobs, kProjectOverShare, kWaitingForWorker };
std::string to_string(WaitReason reason);  ///< `no_worker_alive`, `running_jobs_quota`, ...

struct Forecast {
  std::int64_t position = 0;  ///< 1: starts next
  WaitReason reason = WaitReason::kWaitingForWorker;
  std::optional<std::int64_t> start;   ///< Unix time
  std::optional<std::int64_t> finish;
  std::string message() const;  ///< the reason in a sentence
};

/// When each waiting job starts and ends if nothing else comes, nothing stops before its end and every base goes on at its speed:
/// the claims of fair_share.h, played through on the view's workers, so that positions are those of the claims to be. Times
/// are empty where they depend on a run whose base was never measured, and where nobody works.
std::unordered_map<std::string, Forecast> forecast(storage::QueueView view);

/// Of a job that does not exist, were it queued now. Its project is in the view.
Forecast forecast_new(storage::QueueView view, const std::string& project_id, const std::string& base_model,
                      std::int64_t tokens, int priority);

}  // namespace finetuned::billing
