#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/json.h"
#include "billing/forecast.h"
#include "storage/job.h"

namespace finetuned::postgres {
class Pool;
}

namespace finetuned::gateway {

/// When queued jobs start, as known within two seconds: one look at the whole queue answers all that ask meanwhile. A job that
/// was queued since is looked for again at once, five times a second at most. Thread-safe.
class Forecasts {
 public:
  using Clock = std::chrono::steady_clock;

  struct Known {
    std::optional<billing::Forecast> forecast;  ///< nothing for a job that is not queued, and where the queue cannot be read
    Clock::time_point until;                    ///< when it is looked for again
  };
  /// `database` of any scope.
  Known of(postgres::Pool& database, const std::string& job_id);

 private:
  std::mutex mutex_;  ///< held while the database is asked, so that one asks for all who wait
  std::unordered_map<std::string, billing::Forecast> known_;
  std::optional<Clock::time_point> asked_;
};

/// Adds to a waiting job's shape `queue` and, where it can be told, `estimated_finish`; to others nothing. Returns until when
/// that may be shown of the job as it is.
Forecasts::Clock::time_point add_queue(base::json::object& shape, const storage::Job& job, postgres::Pool& database, Forecasts& forecasts);

}  // namespace finetuned::gateway
