#include "services/engine_train.h"

#include <boost/json/serialize.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <unistd.h>

#include "base/errors.h"
#include "base/json.h"
#include "base/lines.h"
#include "services/cli/progress.h"
#include "services/cli/render.h"
#include "services/engine_device.h"
#include "services/engine_rows.h"
#include "services/engine_verify.h"
#include "trainer/formats/hf_config.h"
#include "trainer/formats/peft.h"

namespace finetuned::services {

namespace json = base::json;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kMinExamples = 10;
constexpr int kBarWidth = 24;
constexpr std::size_t kMostLogLine = 1 << 16;

volatile std::sig_atomic_t stop_signal = 0;

/// Turns SIGINT and SIGTERM into a request while it lives; a second signal has its usual effect.
class StopOnSignal {
 public:
  StopOnSignal() {
    struct sigaction action {};
    action.sa_handler = [](int signal) { stop_signal = signal; };
    action.sa_flags = SA_RESETHAND;
    sigaction(SIGINT, &action, &interrupt_);
    sigaction(SIGTERM, &action, &terminate_);
  }
  ~StopOnSignal() {
    sigaction(SIGINT, &interrupt_, nullptr);
    sigaction(SIGTERM, &terminate_, nullptr);
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

 private:
  struct sigaction interrupt_ {};
  struct sigaction terminate_ {};
};

std::string fixed(double value, int decimals) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

class Reporter final : public training::RunObserver {
 public:
  explicit Reporter(const std::string& log) : log_name_(log) {}

  void on_plan(const training::RunPlan& plan) override {
    plan_ = plan;
    std::int64_t bytes = 0;
    for (const auto& line : plan.memory) bytes += static_cast<std::int64_t>(line.bytes);
    progress_.note("training " + cli::format_count(plan.trainable_parameters) + " parameters: " +
                   cli::format_count(plan.total_steps) + " steps, " + cli::format_count(plan.total_tokens) + " tokens, " +
                   cli::format_bytes(bytes) + " of memory" +
                   (plan.recompute ? ", each layer computed again on the way back" : ""));
  }

  /// The log tells of them too: lines of steps that were lost to a crash are gone.
  void on_resume(const std::vector<training::StepMetrics>& taken) override {
    tokens_before_ = trained_tokens_ = taken.back().trained_tokens;
    progress_.note("going on after step " + std::to_string(taken.back().step) + "/" + std::to_string(plan_.total_steps));
    if (!log_name_.empty())
      for (const training::StepMetrics& step : taken) write_log(step);
  }

  void on_step(const training::StepMetrics& step) override {
    warn_of_state(step.step);
    seconds_ += step.seconds;
    gemm_seconds_ += step.gemm_share.value_or(0) * step.seconds;
    trained_tokens_ = step.trained_tokens;
    if (!log_name_.empty()) write_log(step);
    const double pace = static_cast<double>(step.trained_tokens - tokens_before_) / seconds_;
    const double left = static_cast<double>(plan_.total_tokens - step.trained_tokens) / pace;
    const double done = static_cast<double>(step.step) / static_cast<double>(step.total_steps);
    progress_.show(cli::render_bar(done, kBarWidth) + " step " + std::to_string(step.step) + "/" +
                   std::to_string(step.total_steps) + "  loss " + fixed(step.train_loss, 4) + "  " + fixed(pace, 0) +
                   " tokens/s  " + cli::format_seconds(left) + " left");
    if (step.full_valid_loss)
      progress_.note("step " + std::to_string(step.step) + ": validation loss " + fixed(*step.full_valid_loss, 4) +
                     ", token accuracy " + fixed(*step.full_valid_mean_token_accuracy, 4));
  }

  void on_checkpoint(const training::CheckpointWritten&) override {}
  void on_state(const training::StateWritten& state) override {
    const std::lock_guard lock(mutex_);
    state_lost_ = state.lost;
  }
  bool stop_requested() override { return stop_signal != 0; }

  /// `12 s (1,234 tokens/s, 61% of this machine's 140 GFLOP/s)` over the steps so far; `whose`: `this machine's`.
  std::string pace(std::optional<double> gemm_gflops, const std::string& whose) const {
    if (seconds_ == 0) return cli::format_seconds(0);
    const std::string share = gemm_gflops ? ", " + fixed(100 * gemm_seconds_ / seconds_, 0) + "% of " + whose + " " +
                                                fixed(*gemm_gflops, 0) + " GFLOP/s"
                                          : "";
    return cli::format_seconds(seconds_) + " (" +
           cli::format_count(static_cast<std::int64_t>(static_cast<double>(trained_tokens_ - tokens_before_) / seconds_ + 0.5)) +
           " tokens/s" + share + ")";
  }

 private:
  /// The file may be on a disk that has room again later.
  void warn_of_state(std::int64_t step) {
    const std::lock_guard lock(mutex_);
    if (state_lost_.empty()) return;
    progress_.note("step " + std::to_string(step) + ": the run's state cannot be kept: " + state_lost_);
    state_lost_.clear();
  }

  void write_log(const training::StepMetrics& step) {
    if (!log_.is_open()) log_.open(log_name_, std::ios::trunc);  // not before: a run without a step leaves what was there
    json::object line;
    line["step"] = step.step;
    line["loss"] = step.train_loss;
    line["grad_norm"] = step.grad_norm;
    line["tokens"] = step.tokens;
    line["seconds"] = step.seconds;
    line["tokens_per_second"] = step.tokens_per_second;
    if (step.gemm_share) line["gemm_share"] = *step.gemm_share;
    line["memory_bytes"] = step.memory_bytes;
    line["learning_rate"] = step.learning_rate;
    line["supervised_tokens"] = step.supervised_tokens;
    line["token_accuracy"] = step.train_mean_token_accuracy;
    if (step.valid_loss) line["valid_loss"] = *step.valid_loss;
    if (step.full_valid_loss) line["full_valid_loss"] = *step.full_valid_loss;
    log_ << json::serialize(line) << std::endl;  // a line a step is there as soon as the step is
    if (!log_) throw std::runtime_error(log_name_ + ": the log cannot be written");
  }

  cli::ProgressLine progress_;
  std::string log_name_;
  std::ofstream log_;
  training::RunPlan plan_;
  double seconds_ = 0;
  double gemm_seconds_ = 0;  ///< that the steps would have taken at the matrix product's speed
  std::int64_t trained_tokens_ = 0;
  std::mutex mutex_;
  std::string state_lost_;          ///< guarded by mutex_: on_state() is another thread's
  std::int64_t tokens_before_ = 0;  ///< of them, those of the steps that were taken before
};

/// Whether `file` is empty or begins with a line as Reporter writes them.
bool is_log(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  base::LineReader lines(in, kMostLogLine);
  std::string line;
  if (!lines.next(line)) return !in.bad();
  try {
    const json::value value = base::parse_json(line, {.depth = 2, .bytes = kMostLogLine});
    return value.is_object() && value.get_object().contains("step") && value.get_object().contains("loss");
  } catch (const base::JsonError&) {
    return false;
  }
}

bool is_within(const fs::path& file, const fs::path& directory) {
  const fs::path way = fs::weakly_canonical(file).lexically_relative(fs::weakly_canonical(directory));
  return !way.empty() && *way.begin() != "..";
}

/// The log is begun anew: it replaces nothing but a log, and stands outside what the run reads and writes.
void check_log(const std::string& log, const training::RunConfig& run) {
  if (log.empty()) return;
  const auto refuse = [&](const std::string& why) { throw base::UsageError("--log " + log + " " + why); };
  for (const fs::path& directory : {run.base_directory, run.out_directory, run.init_adapter.value_or("")})
    if (!directory.empty() && is_within(log, directory))
      refuse("is in " + directory.string() + ", which the run reads or writes; name a place outside");
  if (fs::is_directory(log)) refuse("is a directory; name a file");
  if (fs::is_regular_file(log) && !is_log(log)) refuse("is there already and no log of a run; name another file");
  const fs::path place = fs::exists(log) ? fs::path(log) : fs::absolute(log).parent_path();
  if (::access(place.c_str(), W_OK) != 0) refuse("cannot be written: " + std::generic_category().message(errno));
}

/// A file that is there is gone on from; the run refuses it where it is no state of its own.
void find_state(training::RunConfig& run, const WorkerArguments& workers) {
  if (run.state_file.empty()) return;
  const auto refuse = [&](const std::string& why) { throw base::UsageError("--state " + run.state_file.string() + " " + why); };
  if (!workers.rendezvous.empty()) refuse("is for one machine: the processes of a --rendezvous have no file in common");
  if (fs::is_directory(run.state_file)) refuse("is a directory; name a file");
  const fs::path place = fs::absolute(run.state_file).parent_path();
  if (::access(place.c_str(), W_OK) != 0) refuse("cannot be written: " + std::generic_category().message(errno));
  if (fs::exists(run.state_file)) run.resume_from = run.state_file;
}

/// What the command line leaves open is the initial adapter's.
void adopt_adapter(TrainArguments& arguments, const formats::ModelConfig& base) {
  training::RunConfig& run = arguments.run;
  const formats::AdapterConfig initial = formats::read_adapter(*run.init_adapter, base).config;
  if (!arguments.rank_given) run.lora_rank = initial.rank;
  if (!arguments.alpha_given) run.lora_alpha = initial.alpha;
  if (!arguments.rslora_given) run.use_rslora = initial.use_rslora;
  if (!arguments.modules_given) run.target_modules = initial.target_modules;
}

/// What the file of a run that has ended is still good for.
void settle_state(const training::RunConfig& run, const training::RunResult& result) {
  if (!result.stopped) {
    fs::remove(run.state_file);
  } else if (result.state_lost.empty()) {
    std::cerr << "the same command goes on from " << run.state_file.string() << "\n";
  } else {
    throw std::runtime_error("the run's state cannot be kept: " + result.state_lost);
  }
}

}  // namespace

void train(TrainArguments arguments) {
  training::RunConfig& run = arguments.run;
  if (arguments.data.empty() == arguments.tokens.empty())
    throw base::UsageError("give the rows by either --data or --tokens");
  check_workers(arguments.workers);
  if (arguments.verify_kills > 0) return verify_resume(arguments.verify_kills, run.out_directory);
  check_log(arguments.log, run);
  find_state(run, arguments.workers);
  const formats::ModelConfig base = formats::read_model_config(run.base_directory);
  run.device = chosen_device(arguments.device);
  if (run.init_adapter) adopt_adapter(arguments, base);
  std::vector<text::TokenRow> rows;
  std::vector<text::TokenRow> validation;
  if (!arguments.tokens.empty()) {
    rows = token_rows(arguments.tokens);
    run.shuffle = false;
  }
  if (!arguments.data.empty() || !arguments.validation.empty()) {
    const text::RowEncoder encoder(run.base_directory);
    text::SupervisedOptions options;
    options.max_seq_length = run.max_seq_length > 0 ? run.max_seq_length : base.max_position_embeddings;
    options.train_on_inputs = arguments.train_on_inputs;
    if (!arguments.data.empty()) rows = dataset_rows(arguments.data, encoder, options, kMinExamples);
    if (!arguments.validation.empty()) validation = dataset_rows(arguments.validation, encoder, options, 1);
  }
  if (run.base_name.empty()) run.base_name = run.base_directory.string();
  plan_by_workers(arguments.workers, run, rows, validation);
  const auto machines = meet_machines(arguments.workers, run, rows, validation);
  training::RunResult result;
  training::RunResources resources;
  resources.gemm_gflops = gemm_gflops(arguments.workers, run);
  resources.collective = machines.get();
  std::string pace;
  {
    const StopOnSignal stop;
    Reporter reporter(arguments.log);
    try {
      result = train_by_workers(arguments.workers, run, rows, validation, reporter, resources);
    } catch (const training::StateRefused& refused) {
      throw base::UsageError("--state " + run.state_file.string() + ": " + refused.what() + "; remove the file to begin anew");
    }
    pace = reporter.pace(resources.gemm_gflops, machines ? "these machines'" : run.device.is_cuda() ? "this GPU's" : "this machine's");
  }
  if (result.last.step == 0) throw std::runtime_error("stopped before the first step; nothing was written");
  if (!reports(arguments.workers)) {
    std::cout << collective::rank_name(machines->rank(), machines->size()) << ": " << result.last.step
              << " steps; rank 0 has the result\n";
    return;
  }
  if (!run.state_file.empty()) settle_state(run, result);
  std::cout << result.directory.string() << ": " << (result.stopped ? "stopped after " : "") << result.last.step
            << " steps, " << cli::format_count(result.last.trained_tokens) << " tokens, " << pace << ", last loss "
            << fixed(result.last.train_loss, 4) << "\n";
}

}  // namespace finetuned::services
