#include "trainer/training/plan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/errors.h"
#include "base/machine.h"
#include "trainer/training/batches.h"
#include "trainer/training/gradient_sum.h"
#include "trainer/training/shards.h"

namespace finetuned::training {

namespace {

using base::UsageError;
using tensor::megabytes;

constexpr std::int64_t kMicroBatchTokens = 2048;         // beyond it the CPU's kernels gain nothing
constexpr std::int64_t kMicroBatchTokensOfGpu = 16384;  // not measured yet
constexpr std::int64_t kMaxMicroBatchRows = 4096;
constexpr std::int64_t kValidationSamples = 25;   // a run
constexpr std::int64_t kMaxSteps = 100'000'000;
constexpr const char* kFrozen = "frozen weights";

void require(bool held, const std::string& message) {
  if (!held) throw UsageError(message);
}

std::int64_t size_of(const text::TokenRow& row) { return static_cast<std::int64_t>(row.ids.size()); }

std::int64_t longest(const std::vector<text::TokenRow>& rows) {
  std::int64_t most = 0;
  for (const text::TokenRow& row : rows) most = std::max(most, size_of(row));
  return most;
}

/// The most positions that `count` rows can have together.
std::int64_t largest_sum(const std::vector<text::TokenRow>& rows, std::int64_t count) {
  std::vector<std::int64_t> sizes;
  for (const text::TokenRow& row : rows) sizes.push_back(size_of(row));
  std::sort(sizes.begin(), sizes.end(), std::greater<>());
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < sizes.size() && static_cast<std::int64_t>(i) < count; ++i) sum += sizes[i];
  return sum;
}

std::uint64_t rows_bytes(const std::vector<text::TokenRow>& rows) {
  std::uint64_t bytes = 0;
  for (const text::TokenRow& row : rows) bytes += sizeof(row) + 8 * row.ids.size();
  return bytes;
}

std::uint64_t sum_of(const std::vector<tensor::MemoryLine>& lines) {
  std::uint64_t bytes = 0;
  for (const tensor::MemoryLine& line : lines) bytes += line.bytes;
  return bytes;
}

std::int64_t count_trainable(const RunConfig& config, const formats::ModelConfig& base) {
  if (config.full_parameter) return formats::parameter_count(base);
  std::int64_t count = 0;
  for (const std::string& module : config.target_modules) {
    const formats::LinearShape shape = *formats::linear_shape(base, module);
    count += base.layers * config.lora_rank * (shape.in + shape.out);
  }
  return count;
}

/// Positions over the whole run, epochs cut short by max_steps included.
std::int64_t count_tokens(const RunConfig& config, const std::vector<text::TokenRow>& rows, std::int64_t total_steps) {
  Batches batches(static_cast<std::int64_t>(rows.size()), config.batch_size, config.shuffle, config.seed);
  std::int64_t an_epoch = 0;
  for (const text::TokenRow& row : rows) an_epoch += size_of(row);
  const std::int64_t whole = total_steps / batches.steps_per_epoch();
  std::int64_t tokens = whole * an_epoch;
  for (std::int64_t step = whole * batches.steps_per_epoch() + 1; step <= total_steps; ++step)
    for (const std::int64_t row : batches.rows_of(step)) tokens += size_of(rows[static_cast<std::size_t>(row)]);
  return tokens;
}

model::ModelSettings model_settings(const RunConfig& config) {
  model::ModelSettings settings;
  settings.mode = config.full_parameter ? model::Mode::kFull : model::Mode::kLora;
  settings.lora.rank = config.lora_rank;
  settings.lora.alpha = config.lora_alpha;
  settings.lora.dropout = config.lora_dropout;
  settings.lora.use_rslora = config.use_rslora;
  settings.lora.seed = config.seed;
  settings.lora.target_modules = config.target_modules;
  settings.recompute = config.recompute;
  return settings;
}

std::uint64_t line_bytes(const std::vector<tensor::MemoryLine>& lines, const char* name) {
  std::uint64_t bytes = 0;
  for (const tensor::MemoryLine& line : lines)
    if (line.name == name) bytes += line.bytes;
  return bytes;
}

/// What one worker's model takes, as what all of this machine's take. Frozen weights may be one copy for all.
std::vector<tensor::MemoryLine> of_all(std::vector<tensor::MemoryLine> lines, const Workforce& workforce) {
  for (tensor::MemoryLine& line : lines)
    if (!workforce.shared_base || line.name != kFrozen) line.bytes *= static_cast<std::uint64_t>(workforce.local);
  return lines;
}

/// What one worker's model may take for of_all() to keep to `bytes`.
std::uint64_t share_of(std::uint64_t bytes, const std::vector<tensor::MemoryLine>& lines, const Workforce& workforce) {
  const auto local = static_cast<std::uint64_t>(workforce.local);
  const std::uint64_t saved = workforce.shared_base ? (local - 1) * line_bytes(lines, kFrozen) : 0;
  return (bytes + saved) / local;
}

/// What a run takes of the host's memory beside its model.
std::vector<tensor::MemoryLine> lines_of_host(const RunConfig& config, const Plan& plan, std::uint64_t dataset_bytes,
                                              const Workforce& workforce) {
  const auto local = static_cast<std::uint64_t>(workforce.local);
  const auto trained = 4 * static_cast<std::uint64_t>(plan.told.trainable_parameters);
  std::vector<tensor::MemoryLine> lines{{"dataset rows", (local + 1) * dataset_bytes}};  // each worker's, and the caller's
  lines.push_back({config.full_parameter ? "weights being saved" : "adapter being saved", trained});
  if (!config.state_file.empty()) lines.push_back({"state being saved", 3 * trained});  // and AdamW's two moments
  if (config.device.is_cuda() && workforce.workers > 1) {
    const auto parts = static_cast<std::uint64_t>(gradient_buffers(plan.told.most_shards, workforce.workers)) + 1;
    lines.push_back({"gradient shards on the host", local * parts * trained});
  }
  if (workforce.shared_bytes > 0) lines.push_back({"exchange between workers", workforce.shared_bytes});
  return lines;
}

/// What a run takes of its device's memory beside its model.
std::vector<tensor::MemoryLine> lines_of_device(const RunConfig& config, const Plan& plan, const Workforce& workforce) {
  const auto buffers = static_cast<std::uint64_t>(gradient_buffers(plan.told.most_shards, workforce.workers));
  std::uint64_t bytes = static_cast<std::uint64_t>(workforce.local) * buffers * line_bytes(plan.told.memory, "gradients");
  if (config.device.is_cuda() && workforce.workers > 1)
    bytes += 4 * static_cast<std::uint64_t>(exchange_numbers(plan.told.trainable_parameters, plan.told.most_shards, workforce.workers));
  if (bytes == 0) return {};
  return {{"gradient shards", bytes}};
}

std::string listed(const std::vector<tensor::MemoryLine>& lines) {
  std::string parts;
  for (const tensor::MemoryLine& line : lines) parts += (parts.empty() ? "" : ", ") + line.name + " " + megabytes(line.bytes);
  return megabytes(sum_of(lines)) + " of memory (" + parts + ")";
}

[[noreturn]] void refuse_memory(const std::vector<tensor::MemoryLine>& lines, std::uint64_t limit,
                                std::int64_t longest_row) {
  throw UsageError("this run needs " + listed(lines) + " at its longest row of " +
                   std::to_string(longest_row) + " tokens, each layer's activations worked out again, but " + megabytes(limit) +
                   " may be used; lower max_seq_length or the rank, or take a smaller base or a larger machine");
}

/// Each worker on a GPU of its own: what one takes, against what one has. On the processor all share the machine's memory.
Workforce on_one_device(const RunConfig& config, Workforce workforce) {
  if (config.device.is_cuda()) workforce.local = 1;
  return workforce;
}

}  // namespace

void check_config(const RunConfig& config, const formats::ModelConfig& base) {
  const double infinity = std::numeric_limits<double>::infinity();
  require(config.lora_rank >= 1 && config.lora_rank <= 256, "lora_rank must be from 1 to 256");
  require(config.lora_alpha > 0 && config.lora_alpha < 1e6, "lora_alpha must be above 0 and below a million");
  require(config.lora_dropout >= 0 && config.lora_dropout < 1, "lora_dropout must be at least 0 and below 1");
  require(config.learning_rate > 0 && config.learning_rate < infinity, "learning_rate must be above 0");
  require(config.warmup_ratio >= 0 && config.warmup_ratio <= 1, "warmup_ratio must be from 0 to 1");
  require(config.weight_decay >= 0 && config.weight_decay <= 1, "weight_decay must be from 0 to 1");
  require(config.max_grad_norm >= 0 && config.max_grad_norm < infinity, "max_grad_norm must be at least 0");
  require(config.batch_size >= 1 && config.batch_size <= 65536, "batch_size must be from 1 to 65,536 rows");
  require(config.epochs >= 1 && config.epochs <= 100'000, "epochs must be from 1 to 100,000");
  require(!config.max_steps || (*config.max_steps >= 1 && *config.max_steps <= kMaxSteps),
          "steps must be from 1 to 100,000,000");
  require(!config.checkpoint_steps || *config.checkpoint_steps >= 1, "checkpoint_steps must be at least 1");
  require(config.validation_steps >= 0, "validation_steps must be at least 0");
  require(config.state_steps >= 0, "state_steps must be at least 0");
  require(config.state_seconds >= 0 && config.state_seconds <= 1'000'000, "state_seconds must be from 0 to 1,000,000");
  require(config.micro_batch_tokens >= 0, "micro_batch_tokens must be at least 0");
  require(config.threads >= 0 && config.threads <= 1024, "threads must be from 0 to 1,024");
  require(config.max_seq_length >= 0 && config.max_seq_length <= base.max_position_embeddings,
          "max_seq_length must be from 0 to the base's context of " + std::to_string(base.max_position_embeddings));
  require(config.max_seq_length != 1, "max_seq_length must be at least 2");
  require(!config.full_parameter || !config.init_adapter,
          "an initial adapter belongs to a LoRA run, not to one that trains every weight");
  require(!config.target_modules.empty(), "target_modules is empty");
  for (const std::string& module : config.target_modules) {
    require(formats::linear_shape(base, module).has_value(),
            "target module '" + module + "' is unknown; there are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj "
            "and down_proj");
    require(std::count(config.target_modules.begin(), config.target_modules.end(), module) == 1,
            "target module '" + module + "' is given twice");
  }
}

std::int64_t row_limit(const RunConfig& config, const formats::ModelConfig& base) {
  return config.max_seq_length > 0 ? config.max_seq_length : base.max_position_embeddings;
}

std::vector<text::TokenRow> cut_rows(std::vector<text::TokenRow> rows, const char* kind, std::int64_t most_tokens,
                                     const formats::ModelConfig& base) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    text::TokenRow& row = rows[i];
    const auto refuse = [&](const std::string& why) {
      throw UsageError(std::string(kind) + " row " + std::to_string(i + 1) + " " + why);
    };
    if (row.ids.size() != row.labels.size()) refuse("has another number of labels than of ids");
    if (size_of(row) > most_tokens) {
      row.ids.resize(static_cast<std::size_t>(most_tokens));
      row.labels.resize(static_cast<std::size_t>(most_tokens));
    }
    if (size_of(row) < 2) refuse("has fewer than 2 tokens");
    for (std::size_t at = 0; at < row.ids.size(); ++at) {
      const std::int32_t label = row.labels[at];
      if (row.ids[at] < 0 || row.ids[at] >= base.vocab_size)
        refuse("has token " + std::to_string(row.ids[at]) + ", but the vocabulary has " +
               std::to_string(base.vocab_size) + " tokens");
      if (label != text::kIgnoreLabel && (label < 0 || label >= base.vocab_size))
        refuse("has label " + std::to_string(label) + ", which is neither -100 nor a token of the vocabulary");
    }
    if (model::supervised_positions(row) == 0)
      refuse("has no supervised token within the first " + std::to_string(size_of(row)));
  }
  return rows;
}

Plan make_plan(const RunConfig& config, const formats::ModelConfig& base, const std::vector<text::TokenRow>& training,
               const std::vector<text::TokenRow>& validation, const Workforce& everybody) {
  const Workforce workforce = on_one_device(config, everybody);
  Plan plan;
  const auto rows = static_cast<std::int64_t>(training.size());
  plan.steps_per_epoch = Batches(rows, config.batch_size, false, 0).steps_per_epoch();
  plan.told.total_steps = config.max_steps.value_or(config.epochs * plan.steps_per_epoch);
  require(plan.told.total_steps <= kMaxSteps, "the run would take more than 100,000,000 steps");
  plan.told.total_tokens = count_tokens(config, training, plan.told.total_steps);
  plan.told.trainable_parameters = count_trainable(config, base);
  plan.validation_steps = config.validation_steps > 0 ? config.validation_steps
                                                      : std::max<std::int64_t>(1, plan.told.total_steps / kValidationSamples);

  const std::int64_t longest_row = std::max(longest(training), longest(validation));
  const std::int64_t usual = config.device.is_cuda() ? kMicroBatchTokensOfGpu : kMicroBatchTokens;
  const std::int64_t wanted = std::max(longest_row, config.micro_batch_tokens > 0 ? config.micro_batch_tokens : usual);
  const std::int64_t most = std::max(
      longest_row, std::min(wanted, std::max(largest_sum(training, config.batch_size),
                                             largest_sum(validation, kMaxMicroBatchRows))));
  plan.settings = model_settings(config);
  plan.told.most_shards = shard_count(largest_sum(training, config.batch_size), std::min<std::int64_t>(rows, config.batch_size),
                                 shard_tokens(config.device));
  const std::int64_t wanted_rows = std::min(kMaxMicroBatchRows, std::max<std::int64_t>(config.batch_size, 64));
  const std::uint64_t limit = tensor::device_memory_bytes(config.device, config.memory_limit_bytes);
  const auto plan_for = [&](std::int64_t tokens) {
    plan.settings.max_tokens = tokens;
    plan.settings.max_rows = std::min(wanted_rows, tokens / 2);  // a row has at least 2 tokens
    plan.told.memory = tensor::with_class(config.device, [&]<class Device>() {
      return model::plan_memory<Device>(base, plan.settings, config.threads);
    });
  };
  plan_for(most);
  auto beside = lines_of_device(config, plan, workforce);
  const auto of_host = lines_of_host(config, plan, rows_bytes(training) + rows_bytes(validation), everybody);
  if (config.device.is_cuda()) {
    if (const std::uint64_t host_limit = base::run_memory_bytes(); sum_of(of_host) > host_limit)
      throw UsageError("this run needs " + listed(of_host) + " on the host, but " + megabytes(host_limit) +
                       " may be used; give it fewer rows or a larger machine");
  } else {
    beside.insert(beside.end(), of_host.begin(), of_host.end());
  }
  const std::uint64_t for_all = limit > sum_of(beside) ? limit - sum_of(beside) : 0;
  const std::uint64_t for_model = share_of(for_all, plan.told.memory, workforce);
  const bool fits_whole = sum_of(plan.told.memory) <= for_model;
  const auto fit = [&] {
    return tensor::with_class(config.device, [&]<class Device>() {
      return model::fit_tokens<Device>(base, plan.settings, for_model, longest_row, most, config.threads);
    });
  };
  std::int64_t fitting = fits_whole ? most : fit();
  if (fitting == 0 && !plan.settings.recompute) {
    plan.settings.recompute = true;
    fitting = fit();
  }
  if (!fits_whole) plan_for(fitting > 0 ? fitting : longest_row);
  plan.told.memory = of_all(std::move(plan.told.memory), workforce);
  plan.told.memory.insert(plan.told.memory.end(), beside.begin(), beside.end());
  if (fitting == 0) refuse_memory(plan.told.memory, limit, longest_row);
  plan.told.micro_batch_tokens = plan.settings.max_tokens;
  plan.told.recompute = plan.settings.recompute;
  return plan;
}

}  // namespace finetuned::training
