#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// A process that trains, or did.
struct WorkerRow {
  std::string name;
  std::string device;
  std::optional<std::string> known_as;
  std::string whose;  ///< `own`, `donated`, or `unknown` (donation_store.h)
  bool gets_jobs = true;  ///< not an unknown one, nor one that is withdrawn or stopped
  std::int64_t started_at = 0;
  std::int64_t seen_at = 0;
  bool alive = false;  ///< it holds a job's lease, or was seen within kAliveSeconds
  std::optional<std::string> job_id;
};

/// What a worker says of itself.
struct WorkerIdentity {
  std::string name;      ///< the process
  std::string device;    ///< the class of what it trains on
  std::string known_as = {};  ///< its machine's host name, whatever process it is
  std::string engine = {};    ///< training::engine_sha256(); empty: not told
};

/// Who trains. What a worker does is written in its jobs; this only tells those that wait for one, and on what they train.
class WorkerStore {
 public:
  explicit WorkerStore(postgres::Transaction& tx) : tx_(tx) {}

  static constexpr int kAliveSeconds = 30;

  /// This worker waits for a job. Writes nothing where it said so in the last five seconds.
  void seen(const WorkerIdentity& worker);
  /// It ends, and holds no job.
  void gone(const std::string& name);
  /// All of them by name. System scope.
  std::vector<WorkerRow> list();
  /// Forgets those that were last seen a day ago and hold no job. System scope.
  void forget_dead();

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
