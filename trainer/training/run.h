#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "trainer/collective/collective.h"
#include "trainer/formats/safetensors.h"
#include "trainer/model/any_base.h"
#include "trainer/tensor/memory_plan.h"
#include "trainer/text/token_row.h"

namespace finetuned::training {

/// One optimizer step as it happened.
struct StepMetrics {
  std::int64_t step = 0;         ///< 1-based
  std::int64_t total_steps = 0;
  double epoch = 0;              ///< passes over the training rows, fractional
  double train_loss = 0;         ///< mean negative log-likelihood of the supervised tokens, nats
  double train_mean_token_accuracy = 0;
  std::optional<double> valid_loss;  ///< on this step's sample of the validation rows
  std::optional<double> valid_mean_token_accuracy;
  std::optional<double> full_valid_loss;  ///< over all validation rows, at the end of an epoch
  std::optional<double> full_valid_mean_token_accuracy;
  double learning_rate = 0;
  double grad_norm = 0;          ///< global L2 norm before clipping
  std::int64_t tokens = 0;             ///< positions in this step's rows
  std::int64_t supervised_tokens = 0;  ///< of those, the ones with a label
  std::int64_t trained_tokens = 0;     ///< sum of `tokens` so far: what is billed
  double seconds = 0;
  double tokens_per_second = 0;
  std::optional<double> gemm_share;  ///< step_flops() a second over RunResources::gemm_gflops, where that is known
  std::uint64_t memory_bytes = 0;    ///< the most that the process has held up to now; of a GPU what is in use
};

/// An adapter on disk after a whole number of steps: one at the end of each epoch, and each `checkpoint_steps`.
struct CheckpointWritten {
  std::filesystem::path directory;  ///< `step-N` with adapter_model.safetensors and adapter_config.json (full: the model)
  StepMetrics at;
};

/// What a run can go on from when it is killed later, on disk after a whole number of steps.
struct StateWritten {
  std::filesystem::path file;  ///< RunConfig::state_file; stands until the next one
  std::int64_t step = 0;
  std::int64_t trained_tokens = 0;
  std::string lost;            ///< why it could not be written, the state before standing as it was; empty: it is there
};

/// What a run will do, known before its first step.
struct RunPlan {
  using MemoryLine = tensor::MemoryLine;
  std::int64_t total_steps = 0;
  std::int64_t total_tokens = 0;  ///< positions over all epochs = tokens billed when the run ends well
  std::int64_t trainable_parameters = 0;
  std::int64_t micro_batch_tokens = 0;  ///< positions that go through the model at once
  std::int64_t most_shards = 1;         ///< that a step is cut into: more workers than that would have nothing to do
  bool recompute = false;  ///< whether each layer's activations are worked out again on the way back
  std::vector<MemoryLine> memory;         ///< of all workers on this machine
};

/// The loss or the gradient stopped being a number: the run ends, and the message says at which step and what to change.
struct Diverged : base::UsageError {
  using UsageError::UsageError;
};

/// RunConfig::resume_from is missing or damaged, needs more memory than there is here, or is not of this run: of another base, of other
/// rows or settings, or of another program or device class. Nothing was told to the observer: the run can begin anew.
struct StateRefused : base::UsageError {
  using UsageError::UsageError;
};

/// Hears from a run: of what is written on its way on a thread beside the run's, of all else on the run's own. What an
/// implementation throws ends the run. Of several workers, rank 0's hears; each one's is asked whether to stop, and one that
/// says so stops all.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void on_plan(const RunPlan& plan) = 0;
  /// After on_plan(), of a run that goes on: the steps that were taken before.
  virtual void on_resume(const std::vector<StepMetrics>& taken) { static_cast<void>(taken); }
  virtual void on_step(const StepMetrics& step) = 0;
  /// Beside the run, which goes on meanwhile: nothing else is written before this returns, and nothing after the run has
  /// returned. What it throws ends the run after its present step. The run waits before a checkpoint while
  /// something else is written.
  virtual void on_checkpoint(const CheckpointWritten& checkpoint) = 0;
  /// Beside the run, as on_checkpoint(); a state that is due while something is written waits for a later step.
  virtual void on_state(const StateWritten& state) { static_cast<void>(state); }
  /// Asked between micro-batches: true ends the run at once, with what was trained up to the last whole step.
  virtual bool stop_requested() = 0;
};

enum class LrScheduler { kLinear, kCosine, kConstant };

/// How to train; every field resolved (no `auto` reaches the engine).
struct RunConfig {
  std::filesystem::path base_directory;
  std::string base_name;               ///< what adapter_config.json calls the base; empty: the directory's own name
  std::filesystem::path out_directory;
  std::optional<std::filesystem::path> init_adapter;  ///< PEFT directory to start from
  bool full_parameter = false;                        ///< train every weight; writes a Hugging Face directory
  int lora_rank = 8;
  double lora_alpha = 16;
  double lora_dropout = 0;
  bool use_rslora = false;
  std::vector<std::string> target_modules{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  double learning_rate = 1e-4;
  LrScheduler lr_scheduler = LrScheduler::kLinear;
  double warmup_ratio = 0;
  double weight_decay = 0;
  double max_grad_norm = 1.0;            ///< 0 turns clipping off
  int batch_size = 4;                    ///< rows an optimizer step
  std::int64_t epochs = 1;
  std::optional<std::int64_t> max_steps; ///< ends earlier, or goes on over more epochs
  std::optional<std::int64_t> checkpoint_steps;
  bool checkpoint_epochs = true;         ///< false: only each `checkpoint_steps`
  std::int64_t validation_steps = 0;     ///< a sample of the validation rows each so many; 0: some 25 times a run
  bool shuffle = true;                   ///< a permutation an epoch, from `seed`; false keeps the file's order
  std::uint64_t seed = 0;
  std::int64_t max_seq_length = 0;       ///< 0: the base's context; longer rows are cut
  std::int64_t micro_batch_tokens = 0;   ///< 0: 2,048 or the longest row, less only where memory is short
  bool recompute = false;  ///< work each layer's activations out again on the way back; false: only where memory is too short
  std::uint64_t memory_limit_bytes = 0;  ///< of the device; 0: tensor::device_memory_bytes()
  formats::Dtype dtype = formats::Dtype::kF32;  ///< of what is written: F32, BF16 or F16
  tensor::DeviceSpec device;             ///< that trains
  int threads = 0;                       ///< of a worker on the processor; 0: all cores
  std::filesystem::path state_file;      ///< where a run that is stopped leaves what it needs to go on; empty: nowhere
  std::int64_t state_steps = 0;          ///< and one that may be killed, each so many steps; 0: not by steps
  std::int64_t state_seconds = 0;        ///< and at the first whole step so long after the last time; 0: not by time
  std::int64_t stop_after = 0;           ///< ends behind this step as a run that is stopped there; 0: not by its step
  std::filesystem::path resume_from;     ///< the `state_file` of this run when it was stopped; empty: begin
};

/// SHA-256 of files, in hex, by their names.
using FileHashes = std::vector<std::pair<std::string, std::string>>;

/// What a run may be lent instead of making it itself. Everything outlives the run, whose outcome is the same without.
struct RunResources {
  /// The weights of `base_directory` on `RunConfig::device`, whose tensors are then not read again; null: read for this
  /// run. A full-parameter run, which changes them, reads its own.
  const model::AnyBase* base = nullptr;
  bool base_is_shared = true;               ///< by all workers of this machine, or each of them has its own
  const FileHashes* base_hashes = nullptr;  ///< hash_base() of when `base` was read; null: hashed at the run's end
  std::optional<double> gemm_gflops;        ///< of all workers together (speed.h); absent: no StepMetrics::gemm_share
  collective::Collective* collective = nullptr;  ///< the workers of this run; null: this process alone
};

struct RunResult {
  bool stopped = false;  ///< by stop_requested
  StepMetrics last;
  std::filesystem::path directory;  ///< the final adapter, step_metrics.csv and manifest.json; after no step nothing is written
  std::string state_lost;           ///< why a run that was stopped has left no RunConfig::state_file; empty: it has, or there was no step
};

/// Trains on `training_rows` (>= 1, each of >= 2 tokens with >= 1 label beyond its first position, after the cut to
/// `max_seq_length`). Deterministic: the same build, device class, rows, config and `RunPlan::micro_batch_tokens` give the
/// same bytes, whatever `threads` and `resources` are, and however many workers there are. Throws FormatError (base or
/// initial adapter), UsageError (a config or rows that cannot run, with the figures), Diverged, and whatever the observer
/// throws, and StateRefused. Until the first checkpoint nothing is written. A run that was stopped and goes on from its state,
/// however often, gives the bytes of one that was not, for as long as build and device class are the same.
///
/// With a collective, every rank calls this with the same config and rows (training/fingerprint.h); each computes some of
/// a step's shards (training/shards.h), and all take the same step. Rank 0 alone writes. Then also throws
/// collective::PeerLost, the files written so far being whole: also where ranks have come to different gradients.
RunResult run_training(const RunConfig& config, std::vector<text::TokenRow> training_rows,
                       std::vector<text::TokenRow> validation_rows, RunObserver& observer, const RunResources& resources = {});

/// What run_training() by so many workers on this machine, on one copy of the base unless there is none of
/// RunResources::base_is_shared, would tell its observer first, or its refusal of this config and these rows, of the output
/// directory only where this process `writes`. Reads no weights, and makes nothing.
RunPlan plan_training(const RunConfig& config, const std::vector<text::TokenRow>& training_rows,
                      const std::vector<text::TokenRow>& validation_rows, int local_workers = 1, bool writes = true,
                      bool base_is_shared = true);

}  // namespace finetuned::training
