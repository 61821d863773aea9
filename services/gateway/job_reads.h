#pragma once

#include <string>
#include <vector>

#include "base/batches.h"
#include "services/gateway/router.h"

namespace finetuned::postgres {
class Pool;
}

namespace finetuned::gateway {

class Forecasts;

/// Answers GET of jobs, which is what waiting clients send most. Of each project one read is under way at a time; those
/// that come meanwhile are read together by the next one, in one statement. So every answer shows what was committed
/// before its request came, by whichever process; a waiting job's place alone is as old as forecasts.h says. Thread-safe.
class JobReads {
 public:
  /// All outlive this; the pool as base::Batches says.
  JobReads(postgres::Pool& database, Forecasts& forecasts, base::BlockingPool& pool);

  /// Answers with the job's shape, or ApiError 404. Does not block.
  void read(const std::string& project, const std::string& id, Answered answered);

 private:
  struct Asked {
    std::string id;
    Answered answered;
  };
  void read_together(const std::string& project, const std::vector<Asked>& asked);

  postgres::Pool& database_;
  Forecasts& forecasts_;
  base::Batches<Asked> batches_;
};

}  // namespace finetuned::gateway
