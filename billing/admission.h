#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "billing/quote.h"
#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// Creates jobs of one project (gateway, its scope) in one transaction, one after the other, with as few statements as
/// several allow: what they share, as prices, counted tokens and limits, is read once, and what is only written travels
/// with the next statement.
class Creations {
 public:
  /// Outlived by the transaction.
  explicit Creations(postgres::Transaction& tx) : tx_(tx) {}

  /// The job, its first events and, where its files are counted already, the hold, state `queued` and the outbox row; else it
  /// waits in `validating_files` with nothing held. Throws make_quote's ApiErrors, those of quotas.h, and ApiError 429
  /// `insufficient_quota` with the shortfall: nothing of this one is created then, and the transaction goes on.
  void create(const storage::NewJob& job);

 private:
  const std::optional<Quote>& quote_of(const storage::NewJob& job);

  postgres::Transaction& tx_;
  std::unordered_map<std::string, std::optional<Quote>> quotes_;  ///< by what they are of
};

/// One of them, as it is then.
storage::Job create_job(postgres::Transaction& tx, const storage::NewJob& job);

/// Looks again at jobs in `validating_files` (scheduler, system scope): admits those whose files are counted by now;
/// fails those whose files are bad or whose project cannot pay, with the same codes and an event. Returns those that left the
/// state.
std::vector<std::string> admit_waiting_jobs(postgres::Transaction& tx, int most_jobs);

}  // namespace finetuned::billing
