#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/donation_evidence.h"
#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// A part of what a donated worker did, to be run again: the steps from one of its states, or from where its stretch began, to the
/// next state that it told of.
struct ClaimedRecheck {
  std::string id;
  std::int64_t epoch = 0;
  std::string worker;  ///< whose work it is
  Job job;
  std::optional<RunLayout> layout;  ///< of the run that is checked, where it told
  Evidence from;   ///< step 0: the job's beginning. Its sha256 is empty where another worker made it
  std::int64_t to_step = 0;
  std::vector<Evidence> expected;  ///< what the worker told of the steps behind `from`, up to and with `to_step`
};

/// The checks of donated workers' stretches (migration 0027): who runs one has a lease and an epoch, as of a job. Methods that
/// take a lease return false, having changed nothing, when it is lost. System scope.
///
/// waiting -> running -> agreed | disagreed, or waiting again; given_up after kMostAttempts, or where it cannot be run: its
/// stretch then waits for the operator, who settles it (settled), or for its worker's stop (dropped).
class RecheckStore {
 public:
  explicit RecheckStore(postgres::Transaction& tx) : tx_(tx) {}

  static constexpr std::int64_t kMostSteps = 1'000;  ///< that a check may cost
  static constexpr int kMostAttempts = 3;

  /// Begins the check of one stretch that is over: its job ended, or is another's by now. Draws its steps by a seed that nobody
  /// can know before and that stands in its row, each step with the same chance, of those that a kept state leads to; one of
  /// more than kMostSteps is given up. A stretch that told and earned nothing is decided by that. False where none is over.
  bool open_one();

  /// waiting -> running: the oldest one of this engine.
  std::optional<ClaimedRecheck> claim(const std::string& checker, const std::string& engine, std::int64_t lease_seconds);
  bool heartbeat(const ClaimedRecheck& claimed, std::int64_t lease_seconds);
  /// Who ran it has to stop: it waits for another, and nothing is counted.
  bool release(const ClaimedRecheck& claimed);
  /// An attempt failed, by no doing of the worker's.
  bool fail(const ClaimedRecheck& claimed, const std::string& why);
  /// Nobody can run it.
  bool give_up(const ClaimedRecheck& claimed, const std::string& why);
  /// `agreed` or `disagreed`. What follows from it is its caller's (billing/donation_verdicts.h), in this transaction.
  bool decide(const ClaimedRecheck& claimed, bool agreed, const std::string& detail);
  /// Those whose lease ran out count as an attempt that failed. How many.
  int sweep(int most);

 private:
  struct Window;
  void insert(const postgres::Row& stretch, const Window& window);
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
