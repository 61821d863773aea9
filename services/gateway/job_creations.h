#pragma once

#include <string>
#include <vector>

#include "base/batches.h"
#include "services/gateway/idempotency.h"
#include "services/gateway/job_request.h"
#include "services/gateway/platform.h"
#include "services/gateway/router.h"
#include "storage/job.h"

namespace finetuned::gateway {

/// Creates jobs: quote, hold, job, events, outbox and the request's key in one commit. Of each project one read of what
/// requests name and one transaction that creates are under way at a time, since its jobs' holds wait for each other's locks
/// on its accounts until the disk has them; the requests that come meanwhile share the next ones. Each gets its own answer:
/// what refuses one of them undoes its part alone. Thread-safe.
class JobCreations {
 public:
  /// Both outlive this; the pool as base::Batches says.
  JobCreations(const Platform& platform, base::BlockingPool& pool);

  /// Checks a request, which outlives its answer, and answers with the job's shape. Does not block.
  void create(const Request& request, Answered answered);

  /// Takes a job, or why there is none; called where blocking is allowed, unless it is told why.
  using Prepared = std::function<void(std::optional<storage::NewJob>, std::exception_ptr)>;
  /// Checks a request, which outlives the call of `prepared`, and tells what job it would make. Does not block.
  void prepare(const Request& request, Prepared prepared);

 private:
  struct Asked {
    const Request* request;
    Answered answered;
    Repetition repetition = {};
    JobRequest body = {};
    storage::NewJob job = {};
  };
  struct Ground;
  struct Outcome;
  void prepare_together(std::vector<Asked> asked);
  void prepare_one(const Request& request, const Prepared& prepared);
  void resolve(Asked asked, const Ground& ground, std::int64_t rows);
  void create_together(const std::vector<Asked>& asked);
  void commit(const std::vector<Asked>& asked, std::vector<Outcome>& outcomes);
  static void log_created(const Asked& asked, const std::string& job_id);
  void tell_outcome(const Asked& asked, const std::string& job_id);

  const Platform& platform_;
  base::BlockingPool& pool_;
  base::Batches<Asked> preparations_;
  base::Batches<Asked> creations_;
};

}  // namespace finetuned::gateway
