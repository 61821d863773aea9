#include "services/gateway/job_creations.h"

#include <exception>
#include <optional>
#include <utility>

#include "base/errors.h"
#include "base/log.h"
#include "billing/admission.h"
#include "services/gateway/job_creation.h"
#include "services/gateway/limits.h"
#include "services/gateway/shapes.h"
#include "storage/idempotency_store.h"
#include "storage/job_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

using postgres::Scope;
using postgres::Transaction;

namespace {

constexpr std::size_t kMostTogether = 16;  // they wait for each other

/// The job that the same request made before, if any. Holds the request's key until the transaction ends.
std::optional<storage::Job> made_before(Transaction& tx, const std::string& project, const Repetition& repetition) {
  storage::IdempotencyStore requests(tx);
  if (!requests.try_lock(project, repetition.key) && repetition.looks_back) throw request_in_progress();
  if (!repetition.looks_back) return std::nullopt;
  const auto earlier = requests.find(project, repetition.key, repetition.age_seconds);
  if (!earlier) return std::nullopt;
  if (earlier->body_sha256 != repetition.sha256) throw idempotency_key_reused();
  return storage::JobStore(tx).find(earlier->job_id);
}

storage::Job create(Transaction& tx, const storage::NewJob& job, const Repetition& repetition) {
  if (auto earlier = made_before(tx, job.project_id, repetition)) return *earlier;
  const storage::Job created = billing::create_job(tx, job);
  storage::IdempotencyStore(tx).remember(job.project_id, repetition.key, {repetition.sha256, created.id});
  return created;
}

}  // namespace

JobCreations::JobCreations(const Platform& platform, base::BlockingPool& pool)
    : platform_(platform),
      pool_(pool),
      batches_(
          pool, {.most = kMostTogether}, [this](const std::string&, const std::vector<Asked>& asked) { create_together(asked); },
          [](const std::vector<Asked>& asked) {
            const auto overloaded = std::make_exception_ptr(base::Overloaded());
            for (const Asked& one : asked) one.answered(std::nullopt, overloaded);
          }) {}

void JobCreations::create(const Request& request, Answered answered) {
  if (!pool_.try_submit([this, &request, answered] { prepare(request, answered); })) throw base::Overloaded();
}

void JobCreations::prepare(const Request& request, const Answered& answered) {
  try {
    const JobRequest body = parse_job_request(request.body);
    Asked asked{.job = {}, .repetition = repetition_of(request), .answered = answered};
    asked.job = prepare_job(platform_, request.principal, body);
    take_model_request(platform_, request, asked.job.base_model);
    batches_.add(request.principal.project_id, std::move(asked));
  } catch (...) {
    answered(std::nullopt, std::current_exception());
  }
}

void JobCreations::create_together(const std::vector<Asked>& asked) {
  std::vector<storage::Job> created;
  std::exception_ptr refused;
  try {
    created = commit(asked);
  } catch (const postgres::CommitOutcomeUnknown&) {
    return tell_outcome(asked);
  } catch (...) {
    refused = std::current_exception();
  }
  for (std::size_t i = 0; i < asked.size(); ++i) {
    if (!refused)
      asked[i].answered(json_response(job_shape(created[i])), nullptr);
    else if (asked.size() == 1)
      asked[i].answered(std::nullopt, refused);
    else
      create_together({asked[i]});
  }
}

/// All of them, or none.
std::vector<storage::Job> JobCreations::commit(const std::vector<Asked>& asked) {
  auto created = platform_.database.transact(Scope::project(asked.front().job.project_id), [&](Transaction& tx) {
    std::vector<storage::Job> jobs;
    for (const Asked& one : asked) jobs.push_back(gateway::create(tx, one.job, one.repetition));
    return jobs;
  });
  for (const storage::Job& job : created)
    base::log_info("a job was created", {{"job", job.id}, {"project", job.project_id}, {"model", job.model},
                                         {"status", to_string(job.state)}});
  return created;
}

/// The connection broke in COMMIT: the rows themselves tell whether it happened.
void JobCreations::tell_outcome(const std::vector<Asked>& asked) {
  for (const Asked& one : asked) {
    std::optional<Response> response;
    std::exception_ptr error;
    try {
      const auto job = platform_.database.transact(Scope::project(one.job.project_id), [&](Transaction& tx) {
        return storage::JobStore(tx).find(one.job.id);
      });
      if (!job) throw base::unavailable("The database went away while the job was created; there is no such job.");
      response = json_response(job_shape(*job));
    } catch (...) {
      error = std::current_exception();
    }
    one.answered(std::move(response), error);
  }
}

}  // namespace finetuned::gateway
