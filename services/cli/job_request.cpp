#include "services/cli/job_request.h"

#include <boost/json/array.hpp>

#include "base/errors.h"

namespace finetuned::cli {

namespace json = base::json;

namespace {

template <typename Number>
void set(json::object& target, const char* name, const std::optional<Number>& value) {
  if (value) target[name] = *value;
}

json::object metadata_of(const std::vector<std::string>& pairs) {
  json::object metadata;
  for (const std::string& pair : pairs) {
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0)
      throw base::UsageError("--metadata '" + pair + "' is not of the form name=value");
    metadata[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  return metadata;
}

json::object hyperparameters_of(const JobRequest& request) {
  json::object settings;
  set(settings, "n_epochs", request.epochs);
  set(settings, "batch_size", request.batch_size);
  set(settings, "learning_rate", request.learning_rate);
  set(settings, "lora_rank", request.lora_rank);
  set(settings, "lora_alpha", request.lora_alpha);
  set(settings, "lora_dropout", request.lora_dropout);
  set(settings, "max_seq_length", request.max_seq_length);
  set(settings, "warmup_ratio", request.warmup_ratio);
  set(settings, "weight_decay", request.weight_decay);
  set(settings, "max_grad_norm", request.max_grad_norm);
  set(settings, "checkpoint_steps", request.checkpoint_steps);
  if (!request.lr_scheduler.empty()) settings["lr_scheduler"] = request.lr_scheduler;
  if (!request.target_modules.empty())
    settings["target_modules"] = json::array(request.target_modules.begin(), request.target_modules.end());
  if (request.use_rslora) settings["use_rslora"] = true;
  if (request.train_on_inputs) settings["train_on_inputs"] = true;
  return settings;
}

}  // namespace

json::object job_body(const JobRequest& request) {
  json::object supervised;
  supervised["hyperparameters"] = hyperparameters_of(request);
  json::object method;
  method["type"] = "supervised";
  method["supervised"] = std::move(supervised);
  json::object body;
  body["model"] = request.model;
  body["training_file"] = request.training_file;
  if (!request.validation_file.empty()) body["validation_file"] = request.validation_file;
  if (!request.suffix.empty()) body["suffix"] = request.suffix;
  set(body, "seed", request.seed);
  if (!request.metadata.empty()) body["metadata"] = metadata_of(request.metadata);
  body["method"] = std::move(method);
  return body;
}

}  // namespace finetuned::cli
