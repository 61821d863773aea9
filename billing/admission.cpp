#include "billing/admission.h"

#include "base/errors.h"
#include "base/expects.h"
#include "base/ids.h"
#include "billing/ledger.h"
#include "billing/quotas.h"
#include "storage/job_store.h"

namespace finetuned::billing {

namespace {

storage::NewEvent message(std::string text) { return {storage::EventLevel::kInfo, std::move(text), nullptr, false}; }

/// Holds the quote and queues the job, whose row the transaction holds. Throws ApiError 429 before anything is written.
storage::Job admit(postgres::Transaction& tx, const storage::NewJob& job, const Quote& quote) {
  check_month(tx, job, quote);
  storage::Admitted admitted{quote.price.version, quote.tokens, quote.amount.value, std::nullopt};
  if (quote.amount.value > 0) {  // a price of nothing holds nothing
    admitted.hold_transfer_id = base::make_uuid();
    try {
      Ledger(tx).hold(*admitted.hold_transfer_id, job.project_id, quote.amount, job.id, quote.price.version);
    } catch (const InsufficientFunds& error) {
      throw base::ApiError(429, "insufficient_quota", "insufficient_quota",
                           "This job costs " + base::format_dollars(error.needed) + " and the project has " +
                               base::format_dollars(error.available) + " available: " +
                               base::format_dollars(error.shortfall()) +
                               " are missing. Ask your administrator for credit, or train fewer tokens.");
    }
  }
  storage::JobStore jobs(tx);
  const auto queued = jobs.admit(job.id, admitted);
  base::expects(queued.has_value(), "a job is admitted from validating_files, under its lock");
  jobs.append_event_locked(job.id, job.project_id, message("Files validated, job queued: " + std::to_string(quote.tokens) + " tokens, " +
                                    base::format_dollars(quote.amount) + " held"));
  return *queued;
}

}  // namespace

storage::Job create_job(postgres::Transaction& tx, const storage::NewJob& job) {
  const auto quote = make_quote(tx, quote_request_of(tx, job));
  check_queued_jobs(tx, job.project_id);
  storage::JobStore jobs(tx);
  jobs.insert(job);
  jobs.append_event_locked(job.id, job.project_id, message("Created fine-tuning job: " + job.id));
  if (quote) return admit(tx, job, *quote);
  jobs.append_event_locked(job.id, job.project_id, message("Validating training file: " + job.training_file));
  return *jobs.find(job.id);
}

std::size_t admit_waiting_jobs(postgres::Transaction& tx, int most_jobs) {
  storage::JobStore jobs(tx);
  std::size_t left = 0;
  for (const storage::Job& job : jobs.take_waiting(most_jobs)) {
    try {
      const auto quote = make_quote(tx, quote_request_of(tx, job));
      if (!quote) continue;
      admit(tx, job, *quote);
    } catch (const postgres::DatabaseUnavailable&) {
      throw;
    } catch (const base::ApiError& error) {
      jobs.fail_before_start(job.id, {error.code, error.what(), error.param});
    }
    ++left;
  }
  return left;
}

}  // namespace finetuned::billing
