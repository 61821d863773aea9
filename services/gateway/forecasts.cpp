#include "services/gateway/forecasts.h"

#include "base/log.h"
#include "services/gateway/shapes.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::chrono::milliseconds kFresh{2'000}, kSearchPause{200}, kPatience{2'000};

}  // namespace

Forecasts::Known Forecasts::of(postgres::Pool& database, const std::string& job_id) {
  const std::lock_guard lock(mutex_);
  const auto age = asked_ ? Clock::now() - *asked_ : Clock::duration::max();
  if (age >= kFresh || (age >= kSearchPause && !known_.contains(job_id))) {
    try {
      known_ = billing::forecast(database.transact(
          postgres::Scope::system(), [](postgres::Transaction& tx) { return storage::read_queue(tx); }, kPatience));
    } catch (const std::exception& error) {
      base::log_warn("the queue could not be read", {{"error", error.what()}});
      known_.clear();
    }
    asked_ = Clock::now();
  }
  const auto found = known_.find(job_id);
  if (found == known_.end()) return {std::nullopt, *asked_ + kSearchPause};
  return {found->second, *asked_ + kFresh};
}

Forecasts::Clock::time_point add_queue(json::object& shape, const storage::Job& job, postgres::Pool& database, Forecasts& forecasts) {
  auto until = Forecasts::Clock::time_point::max();
  json::object queue;
  queue["position"] = nullptr;
  queue["priority"] = job.priority;
  queue["reason"] = "files_not_checked";
  queue["message"] = "Its files are still being checked.";
  queue["estimated_start"] = nullptr;
  if (job.state == storage::JobState::kQueued) {
    const auto [forecast, known_until] = forecasts.of(database, job.id);
    until = known_until;
    if (!forecast) return until;
    queue["position"] = forecast->position;
    queue["reason"] = to_string(forecast->reason);
    queue["message"] = forecast->message();
    queue["estimated_start"] = or_null(forecast->start);
    shape["estimated_finish"] = or_null(forecast->finish);
  } else if (job.state != storage::JobState::kValidatingFiles) {
    return until;
  }
  shape["queue"] = std::move(queue);
  return until;
}

}  // namespace finetuned::gateway
