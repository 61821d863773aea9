#include "services/worker/preloader.h"

#include <chrono>
#include <string>
#include <sys/resource.h>

#include "base/log.h"
#include "base/stop.h"
#include "storage/job_leases.h"

namespace finetuned::worker {

namespace {

using postgres::Scope;
using postgres::Transaction;

constexpr std::chrono::milliseconds kPause{500};
constexpr std::chrono::milliseconds kQueryLimit{2'000};  // a shutdown waits no longer for the database
constexpr int kLowestPriority = 19;

}  // namespace

Preloader::Preloader(postgres::Pool& pool, ResidentBases& bases) : pool_(pool), bases_(bases) {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Preloader::run(const std::stop_token& stop) {
  // Linux counts a thread as a process here: 0 is this thread alone, not the trainer's.
  if (::setpriority(PRIO_PROCESS, 0, kLowestPriority) != 0)
    base::log_warn("bases are read ahead at the trainer's own priority");
  bool reachable = true;
  while (base::sleep_unless_stopped(stop, kPause)) {
    if (!bases_.in_use()) continue;
    try {
      look(stop);
      reachable = true;
    } catch (const std::exception& error) {
      if (reachable) base::log_warn("the next job's base is not read ahead", {{"why", error.what()}});
      reachable = false;
    }
  }
}

void Preloader::look(const std::stop_token& stop) {
  const auto directory = pool_.transact(
      Scope::system(), [](Transaction& tx) { return storage::JobLeases(tx).next_base_directory(); },
      kQueryLimit);
  if (!directory) return;
  std::string state = *directory + "\n" + ResidentBases::fingerprint(*directory);
  if (state == given_up_) return;
  const std::int64_t reads = bases_.counts().reads;
  try {
    if (bases_.read_ahead(*directory, stop) == ResidentBases::Ahead::kReady && bases_.counts().reads > reads)
      base::log_info("base read ahead", {{"directory", *directory}});
  } catch (const std::exception& error) {
    given_up_ = std::move(state);
    base::log_warn("a base could not be read ahead", {{"directory", *directory}, {"why", error.what()}});
  }
}

}  // namespace finetuned::worker
