#include "services/worker/job_config.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "base/errors.h"
#include "base/expects.h"

namespace finetuned::worker {

namespace {

namespace json = base::json;

/// The job's settings by key. A reader's answer is absent where the key is absent, null or `auto`.
class Settings {
 public:
  explicit Settings(const json::object& object) : object_(object) {}

  std::optional<std::int64_t> integer(const char* key) const {
    const json::value* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_int64() || value->get_int64() < 0) refuse(key, "a whole number, not negative", *value);
    return value->get_int64();
  }

  std::optional<double> number(const char* key) const {
    const json::value* value = find(key);
    if (!value) return std::nullopt;
    if (value->is_int64()) return static_cast<double>(value->get_int64());
    if (!value->is_double()) refuse(key, "a number", *value);
    return value->get_double();
  }

  std::optional<bool> flag(const char* key) const {
    const json::value* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_bool()) refuse(key, "true or false", *value);
    return value->get_bool();
  }

  std::optional<std::string> text(const char* key) const {
    const json::value* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_string()) refuse(key, "a string", *value);
    return std::string(value->get_string());
  }

  std::optional<std::vector<std::string>> texts(const char* key) const {
    const json::value* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_array()) refuse(key, "an array of strings", *value);
    std::vector<std::string> texts;
    for (const json::value& one : value->get_array()) {
      if (!one.is_string()) refuse(key, "an array of strings", *value);
      texts.emplace_back(one.get_string());
    }
    return texts;
  }

  [[noreturn]] void refuse(const char* key, const std::string& kind, const json::value& value) const {
    throw base::FormatError("hyperparameters", key, "must be " + kind + ", not " + json::serialize(value));
  }

 private:
  const json::value* find(const char* key) const {
    const json::value* value = object_.if_contains(key);
    if (!value || value->is_null()) return nullptr;
    return value->is_string() && value->get_string() == "auto" ? nullptr : value;
  }

  const json::object& object_;
};

training::LrScheduler scheduler_of(const std::string& name) {
  if (name == "linear") return training::LrScheduler::kLinear;
  if (name == "cosine") return training::LrScheduler::kCosine;
  if (name == "constant") return training::LrScheduler::kConstant;
  throw base::FormatError("hyperparameters", "lr_scheduler", "must be linear, cosine or constant, not " + name);
}

/// A label as a part of a model's name: what a colon-separated name or a URL cannot hold becomes `-`.
std::string name_part(std::string label) {
  for (char& c : label) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
                       c == '_' || c == '-';
    if (!plain) c = '-';
  }
  return label;
}

template <class Target, class Value>
void assign(Target& target, const std::optional<Value>& value) {
  if (value) target = static_cast<Target>(*value);
}

}  // namespace

JobConfig job_config(const json::object& hyperparameters, std::int64_t seed, std::int64_t context) {
  const Settings settings(hyperparameters);
  JobConfig config;
  training::RunConfig& run = config.run;
  const auto epochs = settings.integer("n_epochs");
  if (!epochs || *epochs < 1)
    throw base::FormatError("hyperparameters", "n_epochs", "must be a whole number of at least 1");
  run.epochs = *epochs;
  assign(run.batch_size, settings.integer("batch_size"));
  assign(run.learning_rate, settings.number("learning_rate"));
  assign(run.lora_rank, settings.integer("lora_rank"));
  assign(run.lora_alpha, settings.number("lora_alpha"));
  assign(run.lora_dropout, settings.number("lora_dropout"));
  assign(run.use_rslora, settings.flag("use_rslora"));
  if (auto modules = settings.texts("target_modules")) run.target_modules = std::move(*modules);
  assign(run.warmup_ratio, settings.number("warmup_ratio"));
  assign(run.weight_decay, settings.number("weight_decay"));
  assign(run.max_grad_norm, settings.number("max_grad_norm"));
  if (const auto name = settings.text("lr_scheduler")) run.lr_scheduler = scheduler_of(*name);
  run.checkpoint_steps = settings.integer("checkpoint_steps");
  if (run.checkpoint_steps == 0) run.checkpoint_steps.reset();
  run.max_seq_length = settings.integer("max_seq_length").value_or(0);
  if (run.max_seq_length == 0 || run.max_seq_length > context) run.max_seq_length = context;
  run.seed = static_cast<std::uint64_t>(seed);
  config.supervised.max_seq_length = run.max_seq_length;
  assign(config.supervised.train_on_inputs, settings.flag("train_on_inputs"));
  config.early_stopping_patience = settings.integer("early_stopping_patience");
  if (config.early_stopping_patience == 0) config.early_stopping_patience.reset();
  return config;
}

std::string fine_tuned_model_name(const std::string& base_model, const std::string& organization,
                                  const std::string& suffix, const std::string& job_id) {
  const auto dash = job_id.find('-');
  base::expects(dash != std::string::npos, "a job's id has its prefix");
  return "ft:" + base_model + ":" + name_part(organization) + ":" + name_part(suffix) + ":" + job_id.substr(dash + 1, 8);
}

std::string checkpoint_model_name(const std::string& model, std::int64_t step) {
  return model + ":ckpt-step-" + std::to_string(step);
}

}  // namespace finetuned::worker
