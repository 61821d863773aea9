#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "services/worker/job_data.h"
#include "trainer/collective/collective.h"
#include "trainer/tensor/any_device.h"
#include "trainer/training/run.h"

namespace finetuned::worker {

/// Where a run's ranks compute, and by which program: rank 0 on the first device in the worker's process, each further one on
/// its own in a process begun for this run.
struct Ranks {
  std::vector<tensor::DeviceSpec> devices;   ///< 1 to collective::kMostRanks
  std::filesystem::path program;             ///< finetuned, whose command `rank` takes RankArguments
  std::uint64_t memory_bytes = 0;            ///< of each further device; 0: what it has to give when its rank begins
  std::string base_fingerprint;              ///< ResidentBases::fingerprint() of the base that rank 0 has
  std::chrono::seconds peer_timeout{7'200};  ///< what one rank waits for another
};

/// What a further rank is told on its command line.
struct RankArguments {
  int rank = 0;
  std::string order;            ///< training::write_run_order()'s file
  std::string device;           ///< its name
  std::string device_identity;  ///< tensor::device_identity() as the worker sees it
  std::string base_state;       ///< SHA-256 of Ranks::base_fingerprint
  int peer_timeout_seconds = 0;
};

struct RanksPlan {
  int ranks = 1;
  training::RunPlan plan;
};

/// By how many ranks the job is to be trained, and its plan: as many as its steps can keep busy, `most` at most, of those whose
/// run fits, and lets as much through the model at once as one rank alone, for the result's bytes depend on it. Throws
/// UsageError where it does not fit one alone.
RanksPlan plan_by_ranks(const JobData& data, int most);

/// run_training() by all ranks, which is as it is by one: the same bytes. `order_file` is made for the further ones. The observer
/// is also asked whether to stop while rank 0 waits for others: before the run's first step that ends it at once, later the
/// others have a quarter of a minute to come to the end of a micro-batch.
///
/// Throws what run_training() throws in rank 0, and PeerLost for a rank that died, did not stop in time, or could not go on,
/// whatever it refused: the job's own settings are rank 0's to judge.
training::RunResult train_by_ranks(const Ranks& ranks, const JobData& data, const std::filesystem::path& order_file,
                                   training::RunObserver& observer, training::RunResources resources);

/// The part of a further rank, in its own process. Returns the exit status. Throws std::system_error where no worker began
/// this.
int take_rank(const RankArguments& arguments);

}  // namespace finetuned::worker
