#include "services/gateway/hyperparameters.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <set>
#include <string_view>

#include "base/errors.h"
#include "base/expects.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

enum class Kind { kInteger, kNumber, kFlag, kScheduler, kModules };

struct Key {
  std::string_view name;
  Kind kind;
  double least = 0;
  double most = 0;
  bool above_least = false;  ///< `least` itself is out
};

constexpr std::array kKeys{
    Key{"n_epochs", Kind::kInteger, 1, 50},
    Key{"batch_size", Kind::kInteger, 1, 256},
    Key{"learning_rate_multiplier", Kind::kNumber, 0, 1000, true},
    Key{"learning_rate", Kind::kNumber, 0, 1, true},
    Key{"lora_rank", Kind::kInteger, 1, 256},
    Key{"lora_alpha", Kind::kNumber, 0, 4096, true},
    Key{"lora_dropout", Kind::kNumber, 0, 0.9},
    Key{"target_modules", Kind::kModules},
    Key{"use_rslora", Kind::kFlag},
    Key{"warmup_ratio", Kind::kNumber, 0, 0.5},
    Key{"lr_scheduler", Kind::kScheduler},
    Key{"weight_decay", Kind::kNumber, 0, 1},
    Key{"max_grad_norm", Kind::kNumber, 0, 1000},
    Key{"max_seq_length", Kind::kInteger, 2, 1 << 20},
    Key{"train_on_inputs", Kind::kFlag},
    Key{"early_stopping_patience", Kind::kInteger, 1, 50},
    Key{"checkpoint_steps", Kind::kInteger, 1, 1'000'000},
};

constexpr std::array<std::string_view, 7> kModules{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                   "gate_proj", "up_proj", "down_proj"};

std::string show(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.12g", number);
  return text;
}

/// What a valid value of the key looks like, for people.
std::string expected(const Key& key) {
  switch (key.kind) {
    case Kind::kFlag: return "true or false";
    case Kind::kScheduler: return "linear, cosine or constant";
    case Kind::kModules:
      return "a non-empty array of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, each once";
    default: break;
  }
  const std::string what = key.kind == Kind::kInteger ? "an integer" : "a number";
  const std::string from = key.above_least ? " above " + show(key.least) + " and at most " : " from " + show(key.least) + " to ";
  return what + from + show(key.most);
}

bool in_bounds(const Key& key, double number) {
  return std::isfinite(number) && number <= key.most && (key.above_least ? number > key.least : number >= key.least);
}

bool are_modules(const json::value& value) {
  if (!value.is_array() || value.get_array().empty()) return false;
  std::set<std::string_view> seen;
  for (const json::value& one : value.get_array()) {
    if (!one.is_string()) return false;
    const std::string_view name = one.get_string();
    if (std::find(kModules.begin(), kModules.end(), name) == kModules.end() || !seen.insert(name).second) return false;
  }
  return true;
}

bool is_valid(const Key& key, const json::value& value) {
  switch (key.kind) {
    case Kind::kInteger: return value.is_int64() && in_bounds(key, static_cast<double>(value.get_int64()));
    case Kind::kNumber: return value.is_number() && in_bounds(key, value.to_number<double>());
    case Kind::kFlag: return value.is_bool();
    case Kind::kScheduler: return value == "linear" || value == "cosine" || value == "constant";
    case Kind::kModules: return are_modules(value);
  }
  return false;
}

}  // namespace

json::object parse_hyperparameters(const json::value& given, const std::string& path) {
  json::object parsed;
  if (given.is_null()) return parsed;
  if (!given.is_object()) throw base::bad_request("invalid_type", path + " must be an object.", path);
  for (const auto& [name, value] : given.get_object()) {
    const std::string_view wanted = name;
    const auto key = std::find_if(kKeys.begin(), kKeys.end(), [&](const Key& one) { return one.name == wanted; });
    const std::string param = path + "." + std::string(wanted);
    if (key == kKeys.end())
      throw base::bad_request("unknown_parameter", "Unknown parameter: " + param + ".", param);
    if (value.is_null() || value == "auto") continue;
    if (!is_valid(*key, value))
      throw base::bad_request("invalid_value", param + " must be " + expected(*key) + ", or auto.", param);
    parsed[name] = value;
  }
  if (parsed.contains("learning_rate") && parsed.contains("learning_rate_multiplier"))
    throw base::bad_request("invalid_value", "Give learning_rate or learning_rate_multiplier, not both.",
                            path + ".learning_rate");
  return parsed;
}

bool is_hyperparameter(std::string_view name) {
  return std::any_of(kKeys.begin(), kKeys.end(), [name](const Key& one) { return one.name == name; });
}

json::object resolve_hyperparameters(const json::object& given, std::int64_t rows) {
  base::expects(rows >= 1, "a dataset has rows");
  json::object resolved;
  for (const Key& key : kKeys) {
    const json::value* value = given.if_contains(key.name);
    resolved[key.name] = value ? *value : json::value(nullptr);
  }
  const auto fill = [&resolved](std::string_view name, json::value value) {
    if (resolved.at(name).is_null()) resolved[name] = std::move(value);
  };
  fill("n_epochs", auto_epochs(rows));
  fill("batch_size", auto_batch_size(rows));
  if (const json::value& rate = resolved.at("learning_rate"); !rate.is_null())
    fill("learning_rate_multiplier", rate.to_number<double>() / kBaseLearningRate);
  fill("learning_rate_multiplier", 1);
  fill("learning_rate", kBaseLearningRate * resolved.at("learning_rate_multiplier").to_number<double>());
  fill("lora_rank", 8);
  fill("lora_alpha", 2 * resolved.at("lora_rank").get_int64());
  fill("lora_dropout", 0);
  fill("target_modules", json::array(kModules.begin(), kModules.end()));
  fill("use_rslora", false);
  fill("warmup_ratio", 0);
  fill("lr_scheduler", "linear");
  fill("weight_decay", 0);
  fill("max_grad_norm", 1);
  fill("train_on_inputs", false);
  return resolved;
}

std::int64_t auto_epochs(std::int64_t rows) {
  constexpr std::int64_t kTarget = 3, kLeastExamples = 100, kMostExamples = 25'000, kMostEpochs = 25;
  if (kTarget * rows < kLeastExamples) return std::min(kMostEpochs, kLeastExamples / rows);
  if (kTarget * rows > kMostExamples) return std::max<std::int64_t>(1, kMostExamples / rows);
  return kTarget;
}

std::int64_t auto_batch_size(std::int64_t rows) { return std::clamp<std::int64_t>(rows / 64, 1, 32); }

}  // namespace finetuned::gateway
