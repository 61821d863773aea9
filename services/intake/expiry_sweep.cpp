#include "services/intake/expiry_sweep.h"

#include <string>
#include <vector>

#include "base/log.h"
#include "base/stop.h"
#include "storage/file_store.h"
#include "storage/job_store.h"
#include "storage/removal_store.h"
#include "storage/upload_store.h"

namespace finetuned::intake {

namespace {

using postgres::Scope;
using postgres::Transaction;

constexpr int kMostRows = 100;      // of one transaction
constexpr int kMostObjects = 32;    // removed within one transaction
constexpr int kMostRounds = 50;     // of one sweep
constexpr std::int64_t kRetrySeconds = 60;

/// Does `work` until it has found less than `full`.
template <class Work>
void repeat(int full, Work work) {
  for (int round = 0; round < kMostRounds; ++round)
    if (work() < full) return;
}

}  // namespace

void ExpirySweep::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    try {
      sweep_once();
    } catch (const std::exception& error) {
      base::log_error("expired files could not be swept; trying again", {{"why", error.what()}});
    }
    base::sleep_unless_stopped(stop, pause_);
  }
}

void ExpirySweep::sweep_once() {
  repeat(kMostRows, [this] { return expire_uploads(); });
  repeat(kMostRows, [this] { return expire_files(); });
  repeat(kMostRows, [this] { return drop_states(); });
  repeat(kMostObjects, [this] { return remove_objects(); });
  const std::size_t leftovers = store_.remove_leftovers();
  if (leftovers > 0) base::log_info("half-written objects were removed", {{"objects", static_cast<std::uint64_t>(leftovers)}});
}

int ExpirySweep::expire_uploads() {
  const auto ids =
      pool_.transact(Scope::system(), [](Transaction& tx) { return storage::UploadStore(tx).expire(kMostRows); });
  for (const std::string& id : ids) base::log_info("an upload expired", {{"upload", id}});
  return static_cast<int>(ids.size());
}

int ExpirySweep::expire_files() {
  const auto ids =
      pool_.transact(Scope::system(), [](Transaction& tx) { return storage::FileStore(tx).remove_expired(kMostRows); });
  for (const std::string& id : ids) base::log_info("a file expired", {{"file", id}});
  return static_cast<int>(ids.size());
}

int ExpirySweep::drop_states() {
  return pool_.transact(Scope::system(), [](Transaction& tx) { return storage::JobStore(tx).drop_states_of_ended(kMostRows); });
}

/// Removes within the transaction, so that nobody keeps an object that is going: doing it twice does no harm.
int ExpirySweep::remove_objects() {
  return pool_.transact(Scope::system(), [this](Transaction& tx) {
    storage::RemovalStore removals(tx);
    if (!removals.may_remove()) return 0;
    const std::vector<std::string> due = removals.take_due(kMostObjects);
    std::vector<std::string> removed, failed;
    for (const std::string& id : due) {
      try {
        store_.remove(id);
        removed.push_back(id);
      } catch (const std::exception& error) {
        base::log_warn("an object could not be removed; trying again", {{"object", id}, {"why", error.what()}});
        failed.push_back(id);
      }
    }
    if (!removed.empty()) removals.removed(removed);
    if (!failed.empty()) removals.postpone(failed, kRetrySeconds);
    return static_cast<int>(due.size());
  });
}

}  // namespace finetuned::intake
