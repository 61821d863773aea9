#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/batches.h"
#include "services/gateway/job_bodies.h"
#include "services/gateway/router.h"
#include "storage/postgres/async_reader.h"

namespace finetuned::postgres {
class Pool;
}

namespace finetuned::gateway {

class Forecasts;
class SocketThreads;

/// Answers GET of jobs, which is what waiting clients send most. Each thread for sockets asks the database, on a session of
/// its own and without waiting, for the versions of the jobs that its clients have asked for since it last did, a project at a
/// time; what has not changed is answered as it was answered before. All else is read on the pool, of each project together.
/// So every answer shows what was committed before its request came, by whichever process; a waiting job's place alone is as
/// old as forecasts.h says.
class JobReads {
 public:
  /// All outlive this, but for the threads of the last two, which are joined before.
  JobReads(postgres::Pool& database, const std::string& database_url, Forecasts& forecasts, base::BlockingPool& pool,
           SocketThreads& threads);
  ~JobReads();

  /// Answers with the job's shape, or ApiError 404. Does not block. On one of the threads for sockets.
  void read(const std::string& project, const std::string& id, Answered answered);

 private:
  struct Asked {
    std::string id;
    Answered answered;
  };
  struct Desk;
  void ask(Desk& desk);
  void answer(const std::string& project, const std::vector<Asked>& asked, const postgres::AsyncReader::Rows& versions);
  void read_together(const std::string& project, const std::vector<Asked>& asked);

  postgres::Pool& database_;
  Forecasts& forecasts_;
  const SocketThreads& threads_;
  JobBodies bodies_;
  base::Batches<Asked> batches_;
  std::vector<std::unique_ptr<Desk>> desks_;  ///< one a thread for sockets
};

}  // namespace finetuned::gateway
