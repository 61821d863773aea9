#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trainer/training/run.h"

namespace finetuned::services {

/// By whom `finetuned train` is carried out: one process, several of this machine, or one each of several
/// machines.
struct WorkerArguments {
  int workers = 1;
  std::string rendezvous;  ///< HOST:PORT, or empty
  std::optional<int> world_rank;
  std::optional<int> world_size;
  int peer_timeout_seconds = 600;
};

/// Throws UsageError where the arguments do not go together.
void check_workers(const WorkerArguments& arguments);

/// Whether this process is the one that reports: not so on ranks 1, 2, ... of several machines.
bool reports(const WorkerArguments& arguments);

/// Throws UsageError where this rank cannot run as it is told to, before the others are met and anything large is read.
/// With `config.threads` 0 several workers of this machine share its cores.
void plan_by_workers(const WorkerArguments& arguments, training::RunConfig& config,
                     const std::vector<text::TokenRow>& rows, const std::vector<text::TokenRow>& validation);

/// Meets the ranks of other machines, which takes minutes at most; null where there are none. Throws
/// UsageError where one differs from rank 0, and collective::PeerLost where not all come.
std::unique_ptr<collective::Collective> meet_machines(const WorkerArguments& arguments,
                                                      const training::RunConfig& config,
                                                      const std::vector<text::TokenRow>& rows,
                                                      const std::vector<text::TokenRow>& validation);

/// What these workers reach together in the engine's own matrix product (training/speed.h), other machines taken to be
/// like this one. Not known of several GPUs, which nobody may speak to before the workers are forked.
std::optional<double> gemm_gflops(const WorkerArguments& arguments, const training::RunConfig& config);

/// run_training() by these workers; `resources.collective` is what meet_machines() gave, and `resources.base` null.
/// Several on this machine are forked, so this process has one thread when it calls; the base is read once for all.
/// Throws as run_training() does.
training::RunResult train_by_workers(const WorkerArguments& arguments, const training::RunConfig& config,
                                     const std::vector<text::TokenRow>& rows,
                                     const std::vector<text::TokenRow>& validation,
                                     training::RunObserver& observer, const training::RunResources& resources);

}  // namespace finetuned::services
