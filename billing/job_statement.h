#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "billing/points_payment.h"
#include "billing/transfer.h"
#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// An optimizer step that is billed, or several where their tokens were not kept one by one (`first_step` < `step`).
struct JobStatementRow {
  std::int64_t first_step = 0;
  std::int64_t step = 0;
  std::int64_t tokens = 0;          ///< of this row
  std::int64_t trained_tokens = 0;  ///< up to and with it
  Amount amount;                    ///< f(trained_tokens) - f(those before), at most the hold in all; 0 where the job is waived
  std::optional<std::string> checkpoint_id;  ///< that committed it
};

/// What a job is billed, as a whole.
struct JobStatement {
  std::optional<std::string> hold_id;      ///< of dollars, or of what points stand for; none: the job costs nothing, or was not admitted
  std::optional<std::string> transfer_id;  ///< that resolved the hold: a post, or a void where nothing is charged
  std::int64_t nano_per_1k = 0;
  Amount held;
  std::int64_t billed_tokens = 0;  ///< the sum of the rows' tokens, 0 where waived; of an ended job its trained_tokens
  Amount amount;                   ///< the sum of the rows' amounts, and of an ended job the post's
  Amount given_back;               ///< of the post, by corrections
  PaymentSplit held_as, paid_as;   ///< held and, of an ended job, charged in dollars and in points
  bool waived = false;             ///< it failed by our fault: its steps are shown and cost nothing
};

/// Any scope that sees the job.
JobStatement job_statement(postgres::Transaction& tx, const storage::Job& job);

/// The first `limit` rows behind the step `after`, in the order of the steps, from the usage that committed checkpoints booked:
/// what was trained after the last one is not billed, and not here.
std::vector<JobStatementRow> job_statement_rows(postgres::Transaction& tx, const storage::Job& job, std::int64_t after,
                                                int limit);

}  // namespace finetuned::billing
