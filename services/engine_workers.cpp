#include "services/engine_workers.h"

#include <algorithm>
#include <chrono>

#include "base/errors.h"
#include "base/machine.h"
#include "trainer/collective/fingerprint.h"
#include "trainer/collective/processes.h"
#include "trainer/collective/tcp.h"
#include "trainer/formats/hf_config.h"
#include "trainer/model/weight_source.h"
#include "trainer/training/fingerprint.h"
#include "trainer/training/speed.h"

namespace finetuned::services {

namespace {

using Rows = std::vector<text::TokenRow>;
using base::UsageError;

void require(bool held, const std::string& message) {
  if (!held) throw UsageError(message);
}

std::chrono::milliseconds peer_timeout(const WorkerArguments& arguments) {
  return std::chrono::seconds(arguments.peer_timeout_seconds);
}

/// The weights that forked workers share; nothing where each trains its own.
std::unique_ptr<model::AnyBase> shared_base(const training::RunConfig& config) {
  if (config.full_parameter || config.device.is_cuda()) return nullptr;
  const formats::ModelConfig base = formats::read_model_config(config.base_directory);
  const formats::Weights weights = formats::Weights::open(config.base_directory);
  formats::check_weights(base, weights);
  tensor::AnyDevice copies(config.device, 1);
  return std::make_unique<model::AnyBase>(copies, base, model::stored_weights(weights));
}

training::RunResult train_locally(const WorkerArguments& arguments, const training::RunConfig& config,
                                  const Rows& rows, const Rows& validation, training::RunObserver& observer,
                                  training::RunResources resources) {
  const auto shared = shared_base(config);
  resources.base = shared.get();
  training::RunResult result;
  collective::run_processes(arguments.workers, peer_timeout(arguments), [&](collective::Collective& group) {
    resources.collective = &group;
    training::RunConfig own = config;
    if (own.device.is_cuda()) own.device.index += group.rank();
    result = training::run_training(own, rows, validation, observer, resources);
  });
  return result;
}

}  // namespace

void check_workers(const WorkerArguments& arguments) {
  const std::string most = std::to_string(collective::kMostRanks);
  require(arguments.workers >= 1 && arguments.workers <= collective::kMostRanks,
          "--workers must be from 1 to " + most + ": a step is shared by " + most + " at most");
  require(arguments.peer_timeout_seconds >= 1 && arguments.peer_timeout_seconds <= 86'400,
          "--peer-timeout must be from 1 to 86,400 seconds");
  if (arguments.rendezvous.empty()) {
    require(!arguments.world_rank, "--world-rank goes with --rendezvous HOST:PORT");
    require(!arguments.world_size, "--world-size goes with --rendezvous HOST:PORT");
    return;
  }
  require(arguments.workers == 1,
          "--workers shares this machine, --rendezvous is for one process each of several; give one of them");
  require(arguments.world_rank && arguments.world_size, "--rendezvous needs --world-rank and --world-size");
  require(*arguments.world_size >= 2 && *arguments.world_size <= collective::kMostRanks,
          "--world-size must be from 2 to " + most + ": a step is shared by " + most + " at most");
  require(*arguments.world_rank >= 0 && *arguments.world_rank < *arguments.world_size,
          "--world-rank must be from 0 to " + std::to_string(*arguments.world_size - 1) +
              ", one below --world-size");
  collective::parse_endpoint(arguments.rendezvous);
}

bool reports(const WorkerArguments& arguments) {
  return arguments.world_rank.value_or(0) == 0;
}

std::unique_ptr<collective::Collective> meet_machines(const WorkerArguments& arguments,
                                                      const training::RunConfig& config, const Rows& rows,
                                                      const Rows& validation) {
  if (arguments.rendezvous.empty()) return nullptr;
  collective::TcpOptions options;
  options.rendezvous = collective::parse_endpoint(arguments.rendezvous);
  options.rank = *arguments.world_rank;
  options.size = *arguments.world_size;
  options.peer_timeout = peer_timeout(arguments);
  auto machines = collective::join(options);  // before the base is hashed, which takes each machine its own time
  collective::agree(*machines, training::run_fingerprint(config, rows, validation));
  return machines;
}

void plan_by_workers(const WorkerArguments& arguments, training::RunConfig& config, const Rows& rows,
                     const Rows& validation) {
  if (config.threads == 0 && arguments.workers > 1)
    config.threads = std::max(1, base::machine_cores() / arguments.workers);
  training::plan_training(config, rows, validation, arguments.workers, reports(arguments));
}

std::optional<double> gemm_gflops(const WorkerArguments& arguments, const training::RunConfig& config) {
  if (config.device.is_cuda() && arguments.workers > 1) return std::nullopt;
  tensor::AnyDevice local(config.device, config.threads * arguments.workers);
  return local.visit([](const auto& device) { return training::gemm_gflops(device); }) * arguments.world_size.value_or(1);
}

training::RunResult train_by_workers(const WorkerArguments& arguments, const training::RunConfig& config,
                                     const Rows& rows, const Rows& validation,
                                     training::RunObserver& observer, const training::RunResources& resources) {
  try {
    if (arguments.workers > 1)
      return train_locally(arguments, config, rows, validation, observer, resources);
    return training::run_training(config, rows, validation, observer, resources);
  } catch (const collective::PeerLost& lost) {
    throw collective::PeerLost(std::string(lost.what()) +
                               "; the run is over, and what it wrote before is whole");
  }
}

}  // namespace finetuned::services
