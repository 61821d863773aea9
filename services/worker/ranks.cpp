#include "services/worker/ranks.h"

#include <algorithm>
#include <optional>

#include "base/errors.h"
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

using std::chrono::steady_clock;

constexpr std::chrono::seconds kStopPatience{15};  // below the worker's own at its end

/// Rank 0 alone is heard, and asked; what it leaves word of holds for all.
class Silent final : public training::RunObserver {
 public:
  explicit Silent(const collective::Collective& group) : group_(group) {}
  void on_plan(const training::RunPlan&) override {}
  void on_step(const training::StepMetrics&) override {}
  void on_checkpoint(const training::CheckpointWritten&) override {}
  bool stop_requested() override { return group_.stop_asked(); }

 private:
  const collective::Collective& group_;
};

/// The observer of rank 0, which is also asked while that waits.
class Watched final : public training::RunObserver {
 public:
  struct BrokenOff {};  ///< the run has nothing to lose

  explicit Watched(training::RunObserver& observer) : observer_(observer) {}
  void on_plan(const training::RunPlan& plan) override { observer_.on_plan(plan); }
  void on_resume(const std::vector<training::StepMetrics>& taken) override {
    has_steps_ = true;
    observer_.on_resume(taken);
  }
  void on_step(const training::StepMetrics& step) override {
    has_steps_ = true;
    observer_.on_step(step);
  }
  void on_checkpoint(const training::CheckpointWritten& checkpoint) override { observer_.on_checkpoint(checkpoint); }
  void on_state(const training::StateWritten& state) override { observer_.on_state(state); }
  bool stop_requested() override { return observer_.stop_requested(); }

  /// Throws BrokenOff, or PeerLost.
  void look(collective::Collective& group) {
    if (!observer_.stop_requested()) return;
    if (!has_steps_) throw BrokenOff();
    group.ask_to_stop();
    const steady_clock::time_point now = steady_clock::now();
    if (!asked_) asked_ = now;
    if (now - *asked_ >= kStopPatience)
      throw collective::PeerLost("the run was to stop, and its ranks did not within " + std::to_string(kStopPatience.count()) + " s");
  }

 private:
  training::RunObserver& observer_;
  bool has_steps_ = false;
  std::optional<steady_clock::time_point> asked_;
};

training::RunConfig with_threads_for(int ranks, training::RunConfig run) {
  if (ranks > 1 && run.threads == 0) run.threads = std::max(1, base::machine_cores() / ranks);
  return run;
}

void check_base(const fs::path& directory, const std::string& state) {
  if (base::sha256_hex(ResidentBases::fingerprint(directory)) != state)
    throw std::runtime_error(directory.string() + " has changed since the worker read it");
}

void train_as(const RankArguments& arguments, collective::Collective& group) {
  training::RunOrder order = training::read_run_order(arguments.order);
  training::RunConfig& run = order.config;
  run.device = tensor::choose_device(arguments.device).spec;
  if (const std::string found = tensor::device_identity(run.device); found != arguments.device_identity)
    throw std::runtime_error(arguments.device + " is " + found + ", for the worker it is " + arguments.device_identity);
  run.memory_limit_bytes = tensor::device_memory_bytes(run.device, run.memory_limit_bytes);  // before the base lies there
  check_base(run.base_directory, arguments.base_state);
  const formats::ModelConfig config = formats::read_model_config(run.base_directory);
  const formats::Weights weights = formats::Weights::open(run.base_directory);
  formats::check_weights(config, weights);
  tensor::AnyDevice device(run.device, run.threads);
  const model::AnyBase base(device, config, model::stored_weights(weights));
  check_base(run.base_directory, arguments.base_state);  // it may have changed meanwhile
  training::RunResources resources;
  resources.base = &base;
  resources.base_is_shared = false;
  resources.collective = &group;
  Silent observer(group);
  training::run_training(run, std::move(order.training), std::move(order.validation), observer, resources);
}

/// What refuses here is no fault of the job, which rank 0 has planned: this machine's.
template <class Work>
auto as_our_fault(const Work& work) {
  try {
    return work();
  } catch (const base::UsageError& error) {
    throw std::runtime_error(error.what());
  }
}

collective::Command rank_command(const Ranks& ranks, int rank, const fs::path& order_file) {
  const tensor::DeviceSpec& device = ranks.devices[static_cast<std::size_t>(rank)];
  return {ranks.program,
          {"rank", "--rank", std::to_string(rank), "--order", order_file.string(), "--device", tensor::device_name(device),
           "--device-identity", as_our_fault([&] { return tensor::device_identity(device); }), "--base-state",
           base::sha256_hex(ranks.base_fingerprint), "--peer-timeout", std::to_string(ranks.peer_timeout.count())}};
}

}  // namespace

RanksPlan plan_by_ranks(const JobData& data, int most) {
  const auto plan_for = [&](int ranks) {
    return training::plan_training(with_threads_for(ranks, data.config.run), data.training, data.validation, ranks, true, false);
  };
  const training::RunPlan alone = plan_for(1);
  for (int ranks = static_cast<int>(std::min<std::int64_t>(most, alone.most_shards)); ranks > 1; --ranks) {
    try {
      training::RunPlan plan = plan_for(ranks);
      if (plan.micro_batch_tokens >= alone.micro_batch_tokens) return {ranks, std::move(plan)};
    } catch (const base::UsageError&) {  // it does not fit so many
    }
  }
  return {1, alone};
}

training::RunResult train_by_ranks(const Ranks& ranks, const JobData& data, const fs::path& order_file,
                                   training::RunObserver& observer, training::RunResources resources) {
  const auto size = static_cast<int>(ranks.devices.size());
  if (size == 1) return training::run_training(data.config.run, data.training, data.validation, observer, resources);
  const training::RunConfig run = with_threads_for(size, data.config.run);
  training::RunConfig told = run;
  told.memory_limit_bytes = ranks.memory_bytes;
  training::write_run_order(order_file, told, data.training, data.validation);
  Watched watched(observer);
  training::RunResult result;
  try {
    collective::run_programs(
        size, ranks.peer_timeout, [&](int rank) { return rank_command(ranks, rank, order_file); },
        [&](collective::Collective& group) {
          resources.base_is_shared = false;
          resources.collective = &group;
          result = training::run_training(run, data.training, data.validation, watched, resources);
        },
        [&](collective::Collective& group) { watched.look(group); });
  } catch (const Watched::BrokenOff&) {
    result.stopped = true;
  }
  return result;
}

int take_rank(const RankArguments& arguments) {
  return collective::take_part(arguments.rank, std::chrono::seconds(arguments.peer_timeout_seconds),
                               [&](collective::Collective& group) { as_our_fault([&] { train_as(arguments, group); }); });
}

}  // namespace finetuned::worker
