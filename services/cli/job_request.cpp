#include "services/cli/job_request.h"

#include <boost/json/array.hpp>

#include "base/errors.h"
#include "base/files.h"

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

void set_hyperparameters(json::object& settings, const JobRequest& request) {
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
}

/// The object in `parent` by that name, made where it is missing.
json::object& object_in(json::object& parent, std::string_view name) {
  json::value& child = parent[name];
  if (child.is_null()) child.emplace_object();
  if (!child.is_object()) throw base::UsageError("the method's '" + std::string(name) + "' is not an object");
  return child.get_object();
}

json::object method_of(const JobRequest& request) {
  json::object method = request.method;
  if (!method.contains("type")) method["type"] = "supervised";
  const json::value& type = method["type"];
  if (!type.is_string()) throw base::UsageError("the method's 'type' is not a text");
  set_hyperparameters(object_in(object_in(method, type.get_string()), "hyperparameters"), request);
  return method;
}

}  // namespace

json::object job_body(const JobRequest& request) {
  json::object body;
  body["model"] = request.model;
  body["training_file"] = request.training_file;
  if (!request.validation_file.empty()) body["validation_file"] = request.validation_file;
  if (!request.suffix.empty()) body["suffix"] = request.suffix;
  if (!request.payment.empty()) body["payment"] = request.payment;
  set(body, "seed", request.seed);
  set(body, "priority", request.priority);
  if (!request.metadata.empty()) body["metadata"] = metadata_of(request.metadata);
  body["method"] = method_of(request);
  return body;
}

json::object read_method(const std::filesystem::path& file) {
  try {
    json::value method = base::parse_json(base::read_file(file, 1 << 20));
    if (method.is_object()) return std::move(method.get_object());
  } catch (const std::exception& error) {
    throw base::UsageError(file.string() + " cannot be read as JSON: " + error.what());
  }
  throw base::UsageError(file.string() + " holds no JSON object");
}

}  // namespace finetuned::cli
