#include "services/worker/ranks.h"

#include <algorithm>

#include "base/machine.h"
#include "base/sha256.h"
#include "services/worker/resident_bases.h"
#include "trainer/collective/processes.h"
#include "trainer/formats/hf_config.h"
#include "trainer/model/weight_source.h"
#include "trainer/training/run_order.h"

namespace finetuned::worker {

namespace {

namespace fs = std::filesystem;

/// Rank 0 alone is heard, and asked.
class Silent final : public training::RunObserver {
 public:
  void on_plan(const training::RunPlan&) override {}
  void on_step(const training::StepMetrics&) override {}
  void on_checkpoint(const training::CheckpointWritten&) override {}
  bool stop_requested() override { return false; }
};

void train_as(const RankArguments& arguments, collective::Collective& group) {
  training::RunOrder order = training::read_run_order(arguments.order);
  training::RunConfig& run = order.config;
  run.device = tensor::choose_device(arguments.device).spec;
  run.memory_limit_bytes = tensor::device_memory_bytes(run.device, run.memory_limit_bytes);  // before the base lies there
  const formats::ModelConfig config = formats::read_model_config(run.base_directory);
  const formats::Weights weights = formats::Weights::open(run.base_directory);
  formats::check_weights(config, weights);
  tensor::AnyDevice device(run.device, run.threads);
  const model::AnyBase base(device, config, model::stored_weights(weights));
  if (base::sha256_hex(ResidentBases::fingerprint(run.base_directory)) != arguments.base_state)
    throw std::runtime_error(run.base_directory.string() + " has changed since the worker read it");
  training::RunResources resources;
  resources.base = &base;
  resources.collective = &group;
  Silent observer;
  training::run_training(run, order.training, order.validation, observer, resources);
}

}  // namespace

training::RunResult train_by_ranks(const Ranks& ranks, const JobData& data, const fs::path& order_file,
                                   training::RunObserver& observer, training::RunResources resources) {
  training::RunConfig run = data.config.run;
  const auto size = static_cast<int>(ranks.devices.size());
  if (size == 1) return training::run_training(run, data.training, data.validation, observer, resources);
  if (run.threads == 0) run.threads = std::max(1, base::machine_cores() / size);
  training::RunConfig told = run;
  told.memory_limit_bytes = ranks.memory_bytes;
  training::write_run_order(order_file, told, data.training, data.validation);
  const std::string state = base::sha256_hex(ranks.base_fingerprint);
  const auto command = [&](int rank) {
    return collective::Command{ranks.program,
                               {"rank", "--rank", std::to_string(rank), "--order", order_file.string(), "--device",
                                tensor::device_name(ranks.devices[static_cast<std::size_t>(rank)]), "--base-state", state}};
  };
  training::RunResult result;
  collective::run_programs(size, collective::kPeerTimeout, command, [&](collective::Collective& group) {
    resources.collective = &group;
    result = training::run_training(run, data.training, data.validation, observer, resources);
  });
  return result;
}

int take_rank(const RankArguments& arguments) {
  return collective::take_part(arguments.rank, collective::kPeerTimeout,
                               [&](collective::Collective& group) { train_as(arguments, group); });
}

}  // namespace finetuned::worker
