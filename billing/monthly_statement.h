#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "billing/transfer.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// A movement on a project's prepaid account; of charges for chats and completions, those of one day and base model together.
struct StatementLine {
  std::int64_t created_at = 0;
  TransferKind kind = TransferKind::kSingle;  ///< single, post or correction: holds move nothing
  std::optional<std::string> transfer_id;  ///< none: a day's charges for answers
  std::optional<std::string> corrects_id;
  std::optional<std::string> job_id;
  std::optional<std::string> model;    ///< that the job trained, or that answered
  std::optional<std::int64_t> tokens;  ///< that a post is for
  Amount amount;                       ///< negative: charged
  std::string reason;
};

/// What a project's prepaid account did in a calendar month (UTC): closing = opening + the sum of the lines, to the nano-dollar.
struct MonthlyStatement {
  std::string month;                 ///< `2026-11`
  Amount opening, closing;           ///< what was credited less what was charged; what is held counts as its own
  Amount held;                       ///< of the closing balance, for jobs that had not ended by then
  std::vector<StatementLine> lines;  ///< oldest first
};

/// `month` is YYYY-MM. Throws UsageError where it is none. Any scope that sees the project.
MonthlyStatement monthly_statement(postgres::Transaction& tx, LedgerName ledger, const std::string& project_id,
                                   const std::string& month);

std::string to_csv(const MonthlyStatement& statement);

}  // namespace finetuned::billing
