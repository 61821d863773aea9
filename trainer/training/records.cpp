#include "trainer/training/records.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cstdio>

#include "base/json.h"
#include "base/sha256.h"
#include "trainer/formats/safetensors.h"

namespace finetuned::training {

namespace fs = std::filesystem;
namespace json = base::json;

namespace {

constexpr std::size_t kMaxCurvePoints = 1000;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

std::string number(const std::optional<double>& value) { return value ? number(*value) : std::string(); }

const char* scheduler_name(LrScheduler scheduler) {
  switch (scheduler) {
    case LrScheduler::kLinear: return "linear";
    case LrScheduler::kCosine: return "cosine";
    case LrScheduler::kConstant: return "constant";
  }
  return "";
}

json::object config_json(const RunConfig& config, const Plan& plan) {
  json::object object;
  object["full_parameter"] = config.full_parameter;
  if (!config.full_parameter) {
    object["lora_rank"] = config.lora_rank;
    object["lora_alpha"] = config.lora_alpha;
    object["lora_dropout"] = config.lora_dropout;
    object["use_rslora"] = config.use_rslora;
    json::array modules;
    for (const std::string& module : config.target_modules) modules.push_back(json::string(module));
    object["target_modules"] = std::move(modules);
  }
  object["learning_rate"] = config.learning_rate;
  object["lr_scheduler"] = scheduler_name(config.lr_scheduler);
  object["warmup_ratio"] = config.warmup_ratio;
  object["weight_decay"] = config.weight_decay;
  object["max_grad_norm"] = config.max_grad_norm;
  object["batch_size"] = config.batch_size;
  object["total_steps"] = plan.told.total_steps;
  object["steps_per_epoch"] = plan.steps_per_epoch;
  object["shuffle"] = config.shuffle;
  object["seed"] = config.seed;
  object["max_seq_length"] = config.max_seq_length;
  object["micro_batch_tokens"] = plan.told.micro_batch_tokens;
  object["dtype"] = formats::dtype_name(config.dtype);
  return object;
}

json::object hashes_json(const FileHashes& hashes) {
  json::object object;
  for (const auto& [name, hash] : hashes) object[name] = hash;
  return object;
}

/// Of those that are there.
FileHashes hash_files(const std::vector<fs::path>& files, const std::function<void()>& each_piece = {}) {
  FileHashes hashes;
  for (const fs::path& file : files)
    if (fs::is_regular_file(file)) hashes.emplace_back(file.filename().string(), base::sha256_file(file, each_piece));
  return hashes;
}

json::object hashes(const std::vector<fs::path>& files) { return hashes_json(hash_files(files)); }

json::object data_json(const std::vector<text::TokenRow>& rows) {
  std::int64_t tokens = 0;
  for (const text::TokenRow& row : rows) tokens += static_cast<std::int64_t>(row.ids.size());
  json::object object;
  object["rows"] = rows.size();
  object["tokens"] = tokens;
  object["sha256"] = rows_sha256(rows);
  return object;
}

json::array loss_curve(const std::vector<StepMetrics>& steps) {
  const std::size_t stride = std::max<std::size_t>(1, (steps.size() + kMaxCurvePoints - 1) / kMaxCurvePoints);
  json::array curve;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (i % stride != 0 && i + 1 != steps.size()) continue;
    json::object point;
    point["step"] = steps[i].step;
    point["train_loss"] = steps[i].train_loss;
    if (steps[i].full_valid_loss) point["full_valid_loss"] = *steps[i].full_valid_loss;
    curve.push_back(std::move(point));
  }
  return curve;
}

}  // namespace

std::string rows_sha256(const std::vector<text::TokenRow>& rows) {
  base::Sha256 hash;
  for (const text::TokenRow& row : rows) {
    const std::uint64_t size = row.ids.size();
    hash.update(&size, sizeof size);
    hash.update(row.ids.data(), row.ids.size() * sizeof(std::int32_t));
    hash.update(row.labels.data(), row.labels.size() * sizeof(std::int32_t));
  }
  return hash.hex();
}

std::string step_metrics_csv(const std::vector<StepMetrics>& steps) {
  std::string text =
      "step,train_loss,train_mean_token_accuracy,valid_loss,valid_mean_token_accuracy,full_valid_loss,"
      "full_valid_mean_token_accuracy,learning_rate,grad_norm,tokens\n";
  for (const StepMetrics& step : steps) {
    text += std::to_string(step.step) + "," + number(step.train_loss) + "," + number(step.train_mean_token_accuracy) +
            "," + number(step.valid_loss) + "," + number(step.valid_mean_token_accuracy) + "," +
            number(step.full_valid_loss) + "," + number(step.full_valid_mean_token_accuracy) + "," +
            number(step.learning_rate) + "," + number(step.grad_norm) + "," + std::to_string(step.tokens) + "\n";
  }
  return text;
}

FileHashes hash_base(const fs::path& directory, const std::function<void()>& each_piece) {
  std::vector<fs::path> files{directory / "config.json", directory / "tokenizer.json",
                              directory / "tokenizer_config.json"};
  const auto weights = formats::Weights::open(directory).files();
  files.insert(files.end(), weights.begin(), weights.end());
  return hash_files(files, each_piece);
}

std::string manifest_json(const RunConfig& config, const FileHashes& base, const Plan& plan, const std::string& device,
                          const std::vector<text::TokenRow>& training, const std::vector<text::TokenRow>& validation,
                          const std::vector<StepMetrics>& steps, const std::string& optimizer_sha256, bool stopped) {
  const fs::path& out = config.out_directory;
  json::object manifest;
  manifest["format"] = 1;
  manifest["engine"] = json::object{{"name", "finetuned"}, {"version", FINETUNED_VERSION}, {"compiler", __VERSION__},
                                    {"device", device}};
  manifest["base"] = hashes_json(base);
  manifest["training_data"] = data_json(training);
  manifest["validation_data"] = validation.empty() ? json::value(nullptr) : json::value(data_json(validation));
  if (config.init_adapter)
    manifest["initial_adapter"] =
        hashes({*config.init_adapter / "adapter_model.safetensors", *config.init_adapter / "adapter_config.json"});
  json::object settings = config_json(config, plan);
  manifest["config_sha256"] = base::sha256_hex(json::serialize(settings));
  manifest["config"] = std::move(settings);
  manifest["seed"] = config.seed;
  manifest["stopped"] = stopped;
  manifest["steps"] = steps.size();
  manifest["trained_tokens"] = steps.empty() ? 0 : steps.back().trained_tokens;
  manifest["optimizer_sha256"] = optimizer_sha256;
  manifest["trainable_parameters"] = plan.told.trainable_parameters;
  manifest["results"] = config.full_parameter
                            ? hashes({out / "model.safetensors", out / "config.json", out / "step_metrics.csv"})
                            : hashes({out / "adapter_model.safetensors", out / "adapter_config.json", out / "step_metrics.csv"});
  manifest["loss_curve"] = loss_curve(steps);
  return json::serialize(manifest) + "\n";
}

}  // namespace finetuned::training
