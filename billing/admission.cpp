#include "billing/admission.h"

#include <boost/json/serialize.hpp>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "base/expects.h"
#include "billing/points_payment.h"
#include "billing/quotas.h"
#include "storage/job_store.h"

namespace finetuned::billing {

namespace {

storage::NewEvent message(std::string text) { return {storage::EventLevel::kInfo, std::move(text), nullptr, false}; }

/// Holds the quote and queues the job, whose row the transaction holds, and says so after `told`. Throws ApiError 429 before
/// anything is written.
void admit(postgres::Transaction& tx, const storage::NewJob& job, const Quote& quote, std::vector<storage::NewEvent> told = {}) {
  const JobHolds holds = hold_price(tx, job, quote);
  const storage::Admitted admitted{quote.price.version, quote.tokens,  quote.amount.value,
                                   holds.dollars,       holds.points, holds.liquidity};
  told.push_back(message("Files validated, job queued: " + std::to_string(quote.tokens) + " tokens, " +
                         in_words(holds.split) + " held"));
  storage::JobStore jobs(tx);
  jobs.admit(job.id, admitted);
  jobs.append_events_locked(job.id, job.project_id, told);
}

/// What makes two jobs' quotes the same.
std::string asked_of(const storage::NewJob& job) {
  const auto length = [](const std::string& text) { return std::to_string(text.size()) + ":" + text; };
  return length(job.base_model) + length(job.training_file) + length(job.validation_file.value_or("")) +
         length(boost::json::serialize(job.method)) + boost::json::serialize(job.hyperparameters);
}

/// Against an archive that goes on meanwhile: it waits for this, or this for it.
void check_open(postgres::Transaction& tx, const std::string& project_id) {
  const auto rows = tx.execute_once("SELECT archived_at IS NOT NULL AS archived FROM project WHERE id = $1 FOR SHARE", {project_id});
  if (rows.empty() || rows.row(0).boolean("archived"))
    throw base::bad_request("project_archived", "The project " + project_id + " is archived and takes no jobs.");
}

}  // namespace

const std::optional<Quote>& Creations::quote_of(const storage::NewJob& job) {
  std::string asked = asked_of(job);
  const auto known = quotes_.find(asked);
  if (known != quotes_.end()) return known->second;
  return quotes_.emplace(std::move(asked), make_quote(tx_, quote_request_of(tx_, job))).first->second;
}

void Creations::create(const storage::NewJob& job) {
  tx_.nested([&] {
    check_open(tx_, job.project_id);
    const auto& quote = quote_of(job);
    check_queued_jobs(tx_, job.project_id);
    storage::JobStore jobs(tx_);
    jobs.insert(job);
    std::vector<storage::NewEvent> told{message("Created fine-tuning job: " + job.id)};
    if (quote) return admit(tx_, job, *quote, std::move(told));
    told.push_back(message("Validating training file: " + job.training_file));
    jobs.append_events_locked(job.id, job.project_id, told);
  });
}

storage::Job create_job(postgres::Transaction& tx, const storage::NewJob& job) {
  Creations(tx).create(job);
  const auto created = storage::JobStore(tx).find(job.id);
  base::expects(created.has_value(), "a created job is there");
  return *created;
}

std::vector<std::string> admit_waiting_jobs(postgres::Transaction& tx, int most_jobs) {
  storage::JobStore jobs(tx);
  std::vector<std::string> left;
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
    left.push_back(job.id);
  }
  return left;
}

}  // namespace finetuned::billing
