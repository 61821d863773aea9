#include "services/gateway/job_creations.h"

#include <boost/json/serialize.hpp>
#include <exception>
#include <map>
#include <optional>
#include <tuple>
#include <unordered_map>
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
#include "storage/rate_limit_store.h"

namespace finetuned::gateway {

using postgres::Scope;
using postgres::Transaction;

namespace {

constexpr std::size_t kMostTogether = 32;  // they wait for each other

/// Whether to go on with what `error` is of one request alone. What is wrong with the database is wrong for all.
bool is_refusal(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const postgres::DatabaseUnavailable&) {
    return false;
  } catch (const base::ApiError&) {
    return true;
  } catch (...) {
    return false;
  }
}

/// The job that the same request made before, if any. `locked`: this transaction has the request's key.
std::optional<storage::Job> made_before(Transaction& tx, const Principal& who, const Repetition& repetition, bool locked) {
  if (!repetition.looks_back) return std::nullopt;
  if (!locked) throw request_in_progress();
  storage::IdempotencyStore requests(tx);
  const auto earlier = requests.find(who.project_id, repetition.key, repetition.age_seconds);
  if (!earlier && repetition.has_key &&
      requests.find_answer({who.organization_id, who.project_id}, repetition.key, repetition.age_seconds))
    throw idempotency_key_reused();  // for a request that makes something else
  if (!earlier) return std::nullopt;
  if (earlier->body_sha256 != repetition.sha256) throw idempotency_key_reused();
  return storage::JobStore(tx).find(earlier->job_id);
}

void refuse_all(const auto& asked, const std::exception_ptr& error) {
  for (const auto& one : asked) one.answered(std::nullopt, error);
}

}  // namespace

/// What a request is resolved against.
struct JobCreations::Ground {
  JobGround found;
  std::optional<storage::RateLimit> limits;
  std::exception_ptr refused;  ///< where it is set, the rest is empty
};

struct JobCreations::Outcome {
  std::string job_id;          ///< of the one that was made, now or by the same request before
  std::exception_ptr refused;  ///< where it is set, there is none
  std::optional<Response> response = {};
};

/// Ties the request's id to the job's, which every later line of the job has.
void JobCreations::log_created(const Asked& asked, const std::string& job_id) {
  base::log_info(job_id == asked.job.id ? "a job was created" : "a job was asked for again",
                 {{"request", asked.request->id}, {"job", job_id}, {"project", asked.job.project_id}, {"model", asked.job.model}});
}

JobCreations::JobCreations(const Platform& platform, base::BlockingPool& pool)
    : platform_(platform),
      pool_(pool),
      preparations_(
          pool, {.most = kMostTogether}, [this](const std::string&, std::vector<Asked> asked) { prepare_together(std::move(asked)); },
          [](const std::vector<Asked>& asked) { refuse_all(asked, std::make_exception_ptr(base::Overloaded())); }),
      creations_(
          pool, {.most = kMostTogether}, [this](const std::string&, const std::vector<Asked>& asked) { create_together(asked); },
          [](const std::vector<Asked>& asked) { refuse_all(asked, std::make_exception_ptr(base::Overloaded())); }) {}

void JobCreations::create(const Request& request, Answered answered) {
  preparations_.add(request.principal.project_id, {.request = &request, .answered = std::move(answered)});
}

/// Reads once what several requests name.
void JobCreations::prepare_together(std::vector<Asked> asked) {
  std::erase_if(asked, [](Asked& one) {
    try {
      one.body = parse_job_request(one.request->body);
      one.repetition = repetition_of(*one.request);
      return false;
    } catch (...) {
      one.answered(std::nullopt, std::current_exception());
      return true;
    }
  });
  if (asked.empty()) return;
  const std::string project = asked.front().request->principal.project_id;
  using Named = std::tuple<std::string, std::string, std::optional<std::string>>;
  const auto named = [](const Asked& one) { return Named(one.body.model, one.body.training_file, one.body.validation_file); };
  std::map<Named, Ground> grounds;
  try {
    platform_.database.transact(Scope::project(project), [&](Transaction& tx) {
      grounds.clear();
      for (const Asked& one : asked) {
        const auto [place, made] = grounds.try_emplace(named(one));
        if (!made) continue;
        try {
          place->second.found = ground_of(tx, one.body);
          place->second.limits = storage::RateLimitStore(tx, project).find(place->second.found.base_model);
        } catch (...) {
          place->second.refused = std::current_exception();
          if (!is_refusal(place->second.refused)) throw;
        }
      }
    });
  } catch (...) {
    const auto error = std::current_exception();
    if (asked.size() == 1) return refuse_all(asked, error);
    for (Asked& one : asked) prepare_together({std::move(one)});
    return;
  }
  for (Asked& one : asked) {
    const Ground& ground = grounds.at(named(one));
    if (ground.refused) {
      one.answered(std::nullopt, ground.refused);
    } else if (ground.found.rows) {
      resolve(std::move(one), ground, *ground.found.rows);
    } else {  // its file has to be read: that holds up no one else
      count_rows(platform_, ground.found.training_object, [this, one, ground](std::optional<std::int64_t> rows, const std::exception_ptr& error) {
        if (error) return one.answered(std::nullopt, error);
        resolve(one, ground, *rows);
      });
    }
  }
}

void JobCreations::prepare(const Request& request, Prepared prepared) {
  if (!pool_.try_submit([this, &request, prepared] { prepare_one(request, prepared); }))
    prepared(std::nullopt, std::make_exception_ptr(base::Overloaded()));
}

void JobCreations::prepare_one(const Request& request, const Prepared& prepared) {
  JobRequest body;
  JobGround ground;
  try {
    body = parse_job_request(request.body);
    const auto read = [&](Transaction& tx) { return ground_of(tx, body); };
    ground = platform_.database.transact(Scope::project(request.principal.project_id), read);
  } catch (...) {
    return prepared(std::nullopt, std::current_exception());
  }
  const auto resolve = [prepared, who = request.principal, body, ground](std::optional<std::int64_t> rows, std::exception_ptr error) {
    std::optional<storage::NewJob> job;
    try {
      if (rows) job = resolve_job(who, body, ground, *rows);
    } catch (...) {
      error = std::current_exception();
    }
    prepared(std::move(job), error);
  };
  if (ground.rows) resolve(ground.rows, nullptr);
  else count_rows(platform_, ground.training_object, resolve);
}

void JobCreations::resolve(Asked asked, const Ground& ground, std::int64_t rows) {
  const Answered answered = asked.answered;
  try {
    const Principal& principal = asked.request->principal;
    asked.job = resolve_job(principal, asked.body, ground.found, rows);
    take_model_request(platform_, *asked.request, asked.job.base_model, ground.limits);
    creations_.add(principal.project_id, std::move(asked));
  } catch (...) {
    answered(std::nullopt, std::current_exception());
  }
}

void JobCreations::create_together(const std::vector<Asked>& asked) {
  std::vector<Outcome> outcomes;
  try {
    commit(asked, outcomes);
  } catch (const postgres::CommitOutcomeUnknown&) {
    for (std::size_t i = 0; i < asked.size(); ++i)
      if (outcomes[i].refused)
        asked[i].answered(std::nullopt, outcomes[i].refused);
      else
        tell_outcome(asked[i], outcomes[i].job_id);
    return;
  } catch (const postgres::DatabaseUnavailable&) {
    return refuse_all(asked, std::current_exception());
  } catch (...) {
    if (asked.size() == 1) return refuse_all(asked, std::current_exception());
    for (const Asked& one : asked) create_together({one});
    return;
  }
  for (std::size_t i = 0; i < asked.size(); ++i) asked[i].answered(std::move(outcomes[i].response), outcomes[i].refused);
}

/// Those that are not refused, or none.
void JobCreations::commit(const std::vector<Asked>& asked, std::vector<Outcome>& outcomes) {
  const std::string& project = asked.front().job.project_id;
  std::vector<std::string> keys;
  for (const Asked& one : asked) keys.push_back(one.repetition.key);
  const auto create = [&](Transaction& tx) {
    storage::IdempotencyStore requests(tx);
    billing::Creations creations(tx);
    outcomes.clear();
    const std::vector<bool> locked = requests.try_lock_all(project, keys);
    std::vector<std::string> made;
    for (std::size_t i = 0; i < asked.size(); ++i) {
      const auto& [job, repetition] = std::tie(asked[i].job, asked[i].repetition);
      Outcome& outcome = outcomes.emplace_back(job.id);
      try {
        const auto earlier = made_before(tx, asked[i].request->principal, repetition, locked[i]);
        if (earlier) {
          outcome.job_id = earlier->id;
        } else {
          creations.create(job);
          requests.remember(project, repetition.key, {repetition.sha256, job.id});
        }
        made.push_back(outcome.job_id);
      } catch (...) {
        outcome.refused = std::current_exception();
        if (!is_refusal(outcome.refused)) throw;
      }
    }
    requests.forget_old(project);
    return storage::JobStore(tx).find_all(made);
  };
  std::unordered_map<std::string, std::string> shapes;
  for (const storage::Job& job : platform_.database.transact(Scope::project(project), create))
    shapes.emplace(job.id, base::json::serialize(job_shape(job)));
  for (std::size_t i = 0; i < asked.size(); ++i) {
    if (outcomes[i].refused) continue;
    log_created(asked[i], outcomes[i].job_id);
    outcomes[i].response = json_text_response(shapes.at(outcomes[i].job_id));
  }
}

/// The connection broke in COMMIT: the rows themselves tell whether it happened.
void JobCreations::tell_outcome(const Asked& asked, const std::string& job_id) {
  std::optional<Response> response;
  std::exception_ptr error;
  try {
    const auto job = platform_.database.transact(Scope::project(asked.job.project_id), [&](Transaction& tx) {
      return storage::JobStore(tx).find(job_id);
    });
    if (!job) throw base::unavailable("The database went away while the job was created; there is no such job.");
    log_created(asked, job_id);
    response = json_response(job_shape(*job));
  } catch (...) {
    error = std::current_exception();
  }
  asked.answered(std::move(response), error);
}

}  // namespace finetuned::gateway
