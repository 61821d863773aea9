#pragma once

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
  std::uint64_t memory_bytes = 0;            ///< of each further device; 0: what it has to give
  std::string base_fingerprint;              ///< ResidentBases::fingerprint() of the base that rank 0 has
};

/// What a further rank is told on its command line.
struct RankArguments {
  int rank = 0;
  std::string order;       ///< training::write_run_order()'s file
  std::string device;      ///< its name
  std::string base_state;  ///< SHA-256 of Ranks::base_fingerprint
};

/// run_training() by all ranks, which is as it is by one: the same bytes. `order_file` is made for the further ones.
/// Throws what run_training() throws, PeerLost for a rank that died or could not go on among it.
training::RunResult train_by_ranks(const Ranks& ranks, const JobData& data, const std::filesystem::path& order_file,
                                   training::RunObserver& observer, training::RunResources resources);

/// The part of a further rank, in its own process. Returns the exit status. Throws std::system_error where no worker began
/// this.
int take_rank(const RankArguments& arguments);

}  // namespace finetuned::worker
