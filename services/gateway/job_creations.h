#pragma once

#include <string>
#include <vector>

#include "base/batches.h"
#include "services/gateway/idempotency.h"
#include "services/gateway/platform.h"
#include "services/gateway/router.h"
#include "storage/job.h"

namespace finetuned::gateway {

/// Creates jobs: quote, hold, job, events, outbox and the request's key in one commit. A project's creations lock its
/// accounts, so of each project one transaction is under way at a time, and those that come meanwhile share the next one
/// and its commit. Where one of them is refused, that transaction is undone and each gets its own. Thread-safe.
class JobCreations {
 public:
  /// Both outlive this; the pool as base::Batches says.
  JobCreations(const Platform& platform, base::BlockingPool& pool);

  /// Checks a request, which outlives its answer, and answers with the job's shape. Does not block.
  void create(const Request& request, Answered answered);

 private:
  struct Asked {
    storage::NewJob job;
    Repetition repetition;
    Answered answered;
  };
  void prepare(const Request& request, const Answered& answered);
  void create_together(const std::vector<Asked>& asked);
  std::vector<storage::Job> commit(const std::vector<Asked>& asked);
  void tell_outcome(const std::vector<Asked>& asked);

  const Platform& platform_;
  base::BlockingPool& pool_;
  base::Batches<Asked> batches_;
};

}  // namespace finetuned::gateway
