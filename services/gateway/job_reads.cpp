#include "services/gateway/job_reads.h"

#include <boost/json/serialize.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <unordered_map>

#include "base/ids.h"
#include "services/gateway/forecasts.h"
#include "services/gateway/shapes.h"
#include "storage/job_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kMostTogether = 256;
constexpr std::chrono::microseconds kPatience{1000};

}  // namespace

JobReads::JobReads(postgres::Pool& database, Forecasts& forecasts, base::BlockingPool& pool)
    : database_(database),
      forecasts_(forecasts),
      batches_(
          pool, {.most = kMostTogether, .patience = kPatience},
          [this](const std::string& project, const std::vector<Asked>& asked) { read_together(project, asked); },
          [](const std::vector<Asked>& asked) {
            const auto overloaded = std::make_exception_ptr(base::Overloaded());
            for (const Asked& one : asked) one.answered(std::nullopt, overloaded);
          }) {}

void JobReads::read(const std::string& project, const std::string& id, Answered answered) {
  if (!base::is_id(id, "ftjob")) throw no_such_job(id);
  batches_.add(project, {id, std::move(answered)});
}

void JobReads::read_together(const std::string& project, const std::vector<Asked>& asked) {
  std::unordered_map<std::string, std::string> bodies;
  try {
    std::vector<std::string> ids;
    for (const Asked& one : asked)
      if (bodies.try_emplace(one.id).second) ids.push_back(one.id);
    const auto jobs = database_.read_one(postgres::Scope::project(project), [&](postgres::Transaction& tx) {
      return storage::JobStore(tx).find_all(ids);
    });
    for (const storage::Job& job : jobs) {
      base::json::object shape = job_shape(job);
      add_queue(shape, job, database_, forecasts_);
      bodies[job.id] = base::json::serialize(shape);
    }
  } catch (...) {
    for (const Asked& one : asked) one.answered(std::nullopt, std::current_exception());
    return;
  }
  for (const Asked& one : asked) {
    const std::string& body = bodies[one.id];
    if (body.empty())
      one.answered(std::nullopt, std::make_exception_ptr(no_such_job(one.id)));
    else
      one.answered(json_text_response(body), nullptr);
  }
}

}  // namespace finetuned::gateway
