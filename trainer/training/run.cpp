#include "trainer/training/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "base/errors.h"
#include "base/files.h"
#include "base/sha256.h"
#include "trainer/formats/hf_config.h"
#include "trainer/formats/peft.h"
#include "trainer/model/transformer.h"
#include "trainer/collective/shared_memory.h"
#include "trainer/training/batches.h"
#include "trainer/training/fingerprint.h"
#include "trainer/training/gradient_sum.h"
#include "trainer/training/keeper.h"
#include "trainer/training/output.h"
#include "trainer/training/plan.h"
#include "trainer/training/prepared.h"
#include "trainer/training/records.h"
#include "trainer/training/run_state.h"
#include "trainer/training/schedule.h"
#include "trainer/training/speed.h"
#include "trainer/training/team.h"

namespace finetuned::training {

namespace {

using Rows = std::vector<text::TokenRow>;
using kernels::LossSums;
using std::chrono::steady_clock;

constexpr std::int64_t kSampleRows = 16;  // validation rows a sample

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

double mean_loss(const LossSums& sums) { return sums.loss / static_cast<double>(sums.supervised); }
double accuracy(const LossSums& sums) { return static_cast<double>(sums.correct) / static_cast<double>(sums.supervised); }

/// On a resident base, or on one that is read now: its file is mapped only while the model copies it.
template <class Device>
model::Transformer<Device> model_on(const RunConfig& config, const RunResources& resources, const formats::ModelConfig& base,
                                    const Plan& plan, Device& device) {
  if (resources.base && !config.full_parameter) return {device, resources.base->on<Device>(), plan.settings};
  const formats::Weights weights = formats::Weights::open(config.base_directory);
  formats::check_weights(base, weights);
  return {device, base, model::stored_weights(weights), plan.settings};
}

template <class Device>
model::Transformer<Device> load_model(const RunConfig& config, const RunResources& resources, const formats::ModelConfig& base,
                                      const Plan& plan, Device& device) {
  model::Transformer<Device> model = model_on(config, resources, base, plan, device);
  if (!config.init_adapter) return model;
  const formats::Adapter initial = formats::read_adapter(*config.init_adapter, base);
  if (initial.config.scale() != plan.settings.lora.scale())
    throw base::UsageError("the initial adapter was trained with another alpha or rank (scale " +
                           std::to_string(initial.config.scale()) + "); give its own lora_alpha " +
                           std::to_string(initial.config.alpha) + " and rank " + std::to_string(initial.config.rank));
  model.load_adapter(initial);
  return model;
}

template <class Device>
class Run {
 public:
  Run(Device& device, Prepared& prepared, RunObserver& observer)
      : config_(prepared.config), observer_(observer), resources_(prepared.resources), team_(prepared.team),
        base_(prepared.base), training_(prepared.training), validation_(prepared.validation), plan_(prepared.plan),
        device_(device), model_(load_model(config_, resources_, base_, plan_, device)),
        gradients_(model_, plan_.told.most_shards, team_.group()),
        batches_(static_cast<std::int64_t>(training_.size()), config_.batch_size, config_.shuffle, config_.seed),
        sampled_(permutation(static_cast<std::int64_t>(validation_.size()), config_.seed, -1)),
        keeper_(config_, observer_, [this] { return origin(); }) {
    if (prepared.state) resume(*std::exchange(prepared.state, std::nullopt));
  }

  RunResult execute() {
    if (team_.leads()) {
      remove_unfinished(config_.out_directory, config_.state_file);
      observer_.on_plan(plan_.told);
      if (!steps_.empty()) observer_.on_resume(steps_);
    }
    if (!validated_ && !conclude()) return finish(true);
    for (auto step = static_cast<std::int64_t>(steps_.size()) + 1; step <= plan_.told.total_steps; ++step) {
      const steady_clock::time_point start = steady_clock::now();
      std::optional<StepMetrics> metrics = train(step);
      if (!metrics) return finish(true);
      measure(*metrics, seconds_since(start));
      steps_.push_back(*metrics);
      if (!conclude() || step == config_.stop_after) return finish(true);
      if (team_.leads() && step < plan_.told.total_steps && keeper_.state_due(step)) keeper_.keep_state(state(keeper_.take_buffers()));
    }
    return finish(false);
  }

 private:
  /// What follows the last step's update. False when a stop was asked for: it is then to be done when the run goes on.
  bool conclude() {
    StepMetrics& metrics = steps_.back();
    validated_ = validate(metrics);
    if (!validated_) {
      metrics.full_valid_loss.reset();  // half a validation is none: all of it is done again
      metrics.full_valid_mean_token_accuracy.reset();
      return false;
    }
    if (team_.leads()) observer_.on_step(metrics);
    if (!is_checkpoint(metrics.step)) return true;
    check_finite(model_, metrics.step);  // every worker says the same of it
    if (team_.leads()) keeper_.keep_checkpoint(trained_by(config_, model_), metrics);
    return true;
  }

  void resume(RunState state) {
    check_origin(state.origin, origin());
    const auto put = [this](std::span<float> to, const std::vector<float>& from) {
      if (to.size() != from.size()) throw StateRefused("the run cannot go on from its state, which is of another model");
      device_.copy_in(to.data(), from.data(), static_cast<std::int64_t>(from.size()));
    };
    put(model_.trained_values(), state.values);
    put(model_.first_moments(), state.first);
    put(model_.second_moments(), state.second);
    model_.values_changed();
    steps_ = std::move(state.steps);
    validated_ = state.validated;
    sample_at_ = static_cast<std::size_t>(state.sample_at);
  }

  /// All but its origin.
  RunState state(RunState state = {}) {
    const auto take = [this](std::vector<float>& to, std::span<const float> from) {
      to.resize(from.size());
      device_.copy_out(to.data(), from.data(), static_cast<std::int64_t>(from.size()));
    };
    state.micro_batch_tokens = plan_.told.micro_batch_tokens;
    state.recompute = plan_.told.recompute;
    state.steps = steps_;
    state.validated = validated_;
    state.sample_at = sample_at_;
    take(state.values, model_.trained_values());
    take(state.first, model_.first_moments());
    take(state.second, model_.second_moments());
    return state;
  }

  const FileHashes& base_hashes() {
    if (resources_.base_hashes) return *resources_.base_hashes;
    if (!own_hashes_) own_hashes_ = hash_base(config_.base_directory);
    return *own_hashes_;
  }

  RunState::Origin origin() {
    std::string base;
    for (const auto& [name, hash] : base_hashes()) base += name + " " + hash + "\n";
    return {engine_sha256(config_), settings_sha256(config_), rows_sha256(training_), rows_sha256(validation_), base::sha256_hex(base)};
  }

  bool ends_epoch(std::int64_t step) const {
    return step % plan_.steps_per_epoch == 0 || step == plan_.told.total_steps;
  }

  bool is_checkpoint(std::int64_t step) const {
    return (config_.checkpoint_epochs && ends_epoch(step)) ||
           (config_.checkpoint_steps && step % *config_.checkpoint_steps == 0);
  }

  /// One optimizer step; nothing when a stop was asked for, the weights then being those of the step before.
  std::optional<StepMetrics> train(std::int64_t step) {
    const std::vector<std::int64_t>& chosen = batches_.rows_of(step);
    StepMetrics metrics;
    for (const std::int64_t row : chosen) {
      const text::TokenRow& one = training_[static_cast<std::size_t>(row)];
      metrics.tokens += static_cast<std::int64_t>(one.ids.size());
      metrics.supervised_tokens += model::supervised_positions(one);
    }
    const auto shards = cut_into_shards(training_, chosen, shard_tokens(config_.device));
    const auto count = static_cast<std::int64_t>(shards.size());
    const ShardRange mine = team_.mine(count);
    const double scale = 1.0 / static_cast<double>(metrics.supervised_tokens);
    const std::optional<LossSums> sums = over_shards(
        training_, shards, [&](std::int64_t shard) { gradients_.begin_shard(mine, shard); },
        [&] { return model_.accumulate_gradients(batch_, scale, step); });
    if (!sums) return std::nullopt;
    gradients_.finish(mine, count);
    metrics.step = step;
    metrics.total_steps = plan_.told.total_steps;
    metrics.epoch = static_cast<double>(step) / static_cast<double>(plan_.steps_per_epoch);
    metrics.train_loss = mean_loss(*sums);
    metrics.train_mean_token_accuracy = accuracy(*sums);
    metrics.trained_tokens = (steps_.empty() ? 0 : steps_.back().trained_tokens) + metrics.tokens;
    update(metrics);
    return metrics;
  }

  void update(StepMetrics& metrics) {
    metrics.learning_rate = learning_rate_at(config_, metrics.step, plan_.told.total_steps);
    metrics.grad_norm = model_.gradient_norm();
    team_.hold_equal(metrics.grad_norm, "the gradient's norm", metrics.step);
    if (!std::isfinite(metrics.train_loss) || !std::isfinite(metrics.grad_norm))
      throw Diverged("the loss stopped being a number at step " + std::to_string(metrics.step) +
                     "; lower the learning rate or add warm-up");
    kernels::AdamW adamw;
    adamw.learning_rate = metrics.learning_rate;
    adamw.weight_decay = config_.weight_decay;
    // PyTorch's clip_grad_norm_: the small term keeps the quotient finite.
    const double clip = config_.max_grad_norm > 0 ? std::min(1.0, config_.max_grad_norm / (metrics.grad_norm + 1e-6)) : 1.0;
    model_.adamw_step(adamw, metrics.step, clip);
  }

  void measure(StepMetrics& metrics, double seconds) const {
    metrics.seconds = seconds;
    metrics.tokens_per_second = static_cast<double>(metrics.tokens) / seconds;
    if constexpr (Device::kHostMemory) {
      metrics.memory_bytes = peak_memory_bytes();
    } else {
      metrics.memory_bytes = device_.used_bytes();
    }
    if (!resources_.gemm_gflops) return;
    metrics.gemm_share = step_flops(base_, plan_.settings, metrics.tokens, metrics.supervised_tokens) / seconds /
                          (1e9 * *resources_.gemm_gflops);
  }

  /// False when a stop was asked for on the way.
  bool validate(StepMetrics& metrics) {
    if (validation_.empty()) return true;
    if (ends_epoch(metrics.step)) {
      const auto sums = evaluate(sampled_);
      if (!sums) return false;
      metrics.full_valid_loss = mean_loss(*sums);
      metrics.full_valid_mean_token_accuracy = accuracy(*sums);
    }
    if (metrics.step % plan_.validation_steps != 0) return true;
    // The next rows of the validation set in its drawn order, around and around.
    const std::size_t count = std::min<std::size_t>(sampled_.size(), kSampleRows);
    std::vector<std::int64_t> sample;
    for (std::size_t i = 0; i < count; ++i) sample.push_back(sampled_[(sample_at_ + i) % sampled_.size()]);
    const auto sums = evaluate(sample);
    if (!sums) return false;
    sample_at_ = (sample_at_ + count) % sampled_.size();
    metrics.valid_loss = mean_loss(*sums);
    metrics.valid_mean_token_accuracy = accuracy(*sums);
    return true;
  }

  /// Calls begin(shard) for each of this worker's shards and `one` for each of its micro-batches, laid into `batch_`.
  /// The sums over everybody's; nothing when a stop was asked for on the way.
  template <class Begin, class One>
  std::optional<LossSums> over_shards(const Rows& rows, const std::vector<std::vector<std::int64_t>>& shards,
                                      const Begin& begin, const One& one) {
    const auto count = static_cast<std::int64_t>(shards.size());
    const ShardRange mine = team_.mine(count);
    ShardSums sums;
    bool stop = mine.first == mine.end && observer_.stop_requested();
    for (std::int64_t shard = mine.first; shard < mine.end && !stop; ++shard) {
      const auto at = static_cast<std::size_t>(shard);
      begin(shard);
      for (const auto& micro : micro_batches(rows, shards[at], plan_.settings.max_tokens, plan_.settings.max_rows)) {
        stop = observer_.stop_requested();
        if (stop) break;
        pack(rows, micro, batch_);
        sums[at] += one();
      }
    }
    return team_.share(sums, count, stop);
  }

  std::optional<LossSums> evaluate(const std::vector<std::int64_t>& chosen) {
    return over_shards(
        validation_, cut_into_shards(validation_, chosen, shard_tokens(config_.device)), [](std::int64_t) {}, [&] { return model_.evaluate(batch_); });
  }

  RunResult finish(bool stopped) {
    keeper_.finish();
    if (steps_.empty()) return {stopped, {}, config_.out_directory, ""};
    check_finite(model_, static_cast<std::int64_t>(steps_.size()));
    RunResult result{stopped, steps_.back(), config_.out_directory, ""};
    if (team_.leads()) {
      write(stopped);
      if (stopped && !config_.state_file.empty()) result.state_lost = write_state();
      const bool goes_on = stopped && !config_.state_file.empty() && result.state_lost.empty();
      if (!validated_ && !goes_on) observer_.on_step(steps_.back());  // else it is told when its validation is done
    }
    team_.meet();  // nobody says that it went well before the result is there
    return result;
  }

  /// Why it could not be written; empty: it was.
  std::string write_state() {
    RunState whole = state(keeper_.take_buffers());
    whole.origin = origin();
    try {
      write_run_state(config_.state_file, whole);
      return "";
    } catch (const base::FileError& error) {
      return error.what();
    }
  }

  void write(bool stopped) {
    const std::filesystem::path& out = config_.out_directory;
    write_result(config_, trained_by(config_, model_), out);
    base::write_durably(out / "step_metrics.csv", step_metrics_csv(steps_));
    const std::string device = tensor::device_class(device_);
    base::write_durably(out / "manifest.json",
                        manifest_json(config_, base_hashes(), plan_, device, training_, validation_, steps_, optimizer_sha256(), stopped));
  }

  /// Of AdamW's first moments and then its second, as they lie in memory.
  std::string optimizer_sha256() {
    base::Sha256 hash;
    std::vector<float> copy;
    for (const std::span<const float> moments : {model_.first_moments(), model_.second_moments()}) {
      std::span<const float> there = moments;
      if constexpr (!Device::kHostMemory) {
        copy.resize(moments.size());
        device_.copy_out(copy.data(), moments.data(), static_cast<std::int64_t>(moments.size()));
        there = copy;
      }
      hash.update(there.data(), there.size_bytes());
    }
    return hash.hex();
  }

  const RunConfig& config_;
  RunObserver& observer_;
  const RunResources& resources_;
  const Team& team_;
  const formats::ModelConfig& base_;
  const Rows& training_;
  const Rows& validation_;
  const Plan& plan_;
  Device& device_;
  model::Transformer<Device> model_;
  GradientSum<Device> gradients_;
  Batches batches_;
  std::vector<std::int64_t> sampled_;
  std::size_t sample_at_ = 0;
  bool validated_ = true;  ///< false: the last step's validation was broken off
  std::optional<FileHashes> own_hashes_;
  model::PackedBatch batch_;
  std::vector<StepMetrics> steps_;
  Keeper keeper_;
};

}  // namespace

RunResult run_training(const RunConfig& config, Rows training_rows, Rows validation_rows, RunObserver& observer,
                       const RunResources& resources) {
  if (training_rows.empty()) throw base::UsageError("there are no training rows");
  Prepared prepared(config, std::move(training_rows), std::move(validation_rows), resources);
  tensor::AnyDevice device(config.device, config.threads);
  return device.visit([&]<class Device>(Device& on) { return Run<Device>(on, prepared, observer).execute(); });
}

RunPlan plan_training(const RunConfig& config, const Rows& training_rows, const Rows& validation_rows, int local_workers,
                      bool writes, bool base_is_shared) {
  if (training_rows.empty()) throw base::UsageError("there are no training rows");
  const formats::ModelConfig base = checked_base(config, {}, writes);
  const Rows training = cut_rows(training_rows, "training", row_limit(config, base), base);
  const Rows validation = cut_rows(validation_rows, "validation", row_limit(config, base), base);
  Workforce workforce;
  if (local_workers > 1)
    workforce = {local_workers, local_workers, base_is_shared && !config.full_parameter && !config.device.is_cuda(),
                 collective::SharedSegment::bytes(local_workers)};
  return make_plan(config, base, training, validation, workforce).told;
}

}  // namespace finetuned::training
