#include "services/gateway/job_request.h"

#include <algorithm>
#include <array>

#include "base/errors.h"
#include "services/gateway/hyperparameters.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::size_t kMostMetadata = 16, kMostMetadataKey = 64, kMostMetadataValue = 512;
constexpr std::size_t kMostIntegrations = 5, kMostSuffix = 64, kMostText = 256, kMostTags = 50, kMostTag = 64;
constexpr std::int64_t kMostSeed = 2147483647, kMostPriority = 10;

[[noreturn]] void refuse(const std::string& param, const std::string& why) {
  throw base::bad_request("invalid_value", param + " " + why + ".", param);
}

/// Characters, not bytes, of UTF-8.
std::size_t length_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::optional<std::string> optional_text(const json::object& body, const char* key, std::size_t most) {
  const json::value* value = body.if_contains(key);
  if (!value || value->is_null()) return std::nullopt;
  if (!value->is_string()) refuse(key, "must be a string");
  const std::string text(value->get_string());
  if (text.empty() || length_of(text) > most) refuse(key, "must have 1 to " + std::to_string(most) + " characters");
  return text;
}

std::string required_text(const json::object& body, const char* key) {
  auto text = optional_text(body, key, kMostText);
  if (!text)
    throw base::bad_request("missing_required_parameter", std::string("Missing required parameter: ") + key + ".", key);
  return *text;
}

/// The suffix becomes a part of the model's name, between colons.
std::optional<std::string> read_suffix(const json::object& body) {
  auto suffix = optional_text(body, "suffix", kMostSuffix);
  const auto allowed = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.';
  };
  if (suffix && !std::all_of(suffix->begin(), suffix->end(), allowed))
    refuse("suffix", "may hold letters, digits, '-', '_' and '.' only");
  return suffix;
}

std::optional<std::int64_t> read_seed(const json::object& body) {
  const json::value* value = body.if_contains("seed");
  if (!value || value->is_null()) return std::nullopt;
  if (!value->is_int64() || value->get_int64() < 0 || value->get_int64() > kMostSeed)
    refuse("seed", "must be an integer from 0 to 2147483647");
  return value->get_int64();
}

int read_priority(const json::object& body) {
  const json::value* value = body.if_contains("priority");
  if (!value || value->is_null()) return 0;
  if (!value->is_int64() || value->get_int64() < -kMostPriority || value->get_int64() > kMostPriority)
    refuse("priority", "must be an integer from -10 to 10");
  return static_cast<int>(value->get_int64());
}

storage::Payment read_payment(const json::object& body) {
  const json::value* value = body.if_contains("payment");
  if (!value || value->is_null()) return storage::Payment::kUsd;
  const auto payment = value->is_string() ? storage::payment_named(std::string(value->get_string())) : std::nullopt;
  if (!payment) refuse("payment", "must be usd, points or points_then_usd");
  return *payment;
}

json::value read_metadata(const json::object& body) {
  const json::value* value = body.if_contains("metadata");
  if (!value || value->is_null()) return nullptr;
  if (!value->is_object()) refuse("metadata", "must be an object of strings");
  if (value->get_object().size() > kMostMetadata) refuse("metadata", "must have at most 16 pairs");
  for (const auto& [key, one] : value->get_object()) {
    if (key.empty() || length_of(key) > kMostMetadataKey) refuse("metadata", "must have keys of 1 to 64 characters");
    if (!one.is_string() || length_of(one.get_string()) > kMostMetadataValue)
      refuse("metadata." + std::string(key), "must be a string of at most 512 characters");
  }
  return *value;
}

/// What is kept of a W&B integration: its known fields, since they are shown again in that form.
json::object read_wandb(const json::object& given, const std::string& path) {
  json::object kept;
  for (const char* key : {"project", "name", "entity"}) {
    const json::value* value = given.if_contains(key);
    const bool absent = !value || value->is_null();
    if (absent && std::string_view(key) == "project")
      throw base::bad_request("missing_required_parameter", "Missing required parameter: " + path + ".project.", path + ".project");
    if (!absent && (!value->is_string() || value->get_string().empty() || length_of(value->get_string()) > kMostText))
      refuse(path + "." + key, "must be a string of 1 to 256 characters");
    kept[key] = absent ? json::value(nullptr) : *value;
  }
  const json::value* tags = given.if_contains("tags");
  kept["tags"] = json::array();
  if (!tags || tags->is_null()) return kept;
  const auto is_tag = [](const json::value& tag) { return tag.is_string() && length_of(tag.get_string()) <= kMostTag; };
  if (!tags->is_array() || tags->get_array().size() > kMostTags || !std::all_of(tags->get_array().begin(), tags->get_array().end(), is_tag))
    refuse(path + ".tags", "must be an array of at most 50 strings of at most 64 characters");
  kept["tags"] = *tags;
  return kept;
}

json::value read_integrations(const json::object& body) {
  const json::value* value = body.if_contains("integrations");
  if (!value || value->is_null()) return nullptr;
  if (!value->is_array() || value->get_array().size() > kMostIntegrations)
    refuse("integrations", "must be an array of at most 5");
  json::array kept;
  for (const json::value& one : value->get_array()) {
    const std::string path = "integrations[" + std::to_string(kept.size()) + "]";
    const json::object* integration = one.if_object();
    const json::value* type = integration ? integration->if_contains("type") : nullptr;
    if (!type || *type != "wandb") refuse(path, "must be an object of type wandb");
    const json::value* wandb = integration->if_contains("wandb");
    if (!wandb || !wandb->is_object()) refuse(path + ".wandb", "must be an object with a project");
    kept.push_back({{"type", "wandb"}, {"wandb", read_wandb(wandb->get_object(), path + ".wandb")}});
  }
  return kept;
}

void allow_only(const json::object& object, std::initializer_list<std::string_view> known, const std::string& path) {
  for (const auto& [key, value] : object)
    if (std::find(known.begin(), known.end(), std::string_view(key)) == known.end())
      throw base::bad_request("unknown_parameter", "Unknown parameter: " + path + std::string(key) + ".",
                              path + std::string(key));
}

/// Keys that mean nothing are ignored; a setting of the training beside its place would be ignored too, and paid for.
void refuse_misplaced(const json::object& body) {
  for (const auto& [key, value] : body)
    if (is_hyperparameter(key))
      throw base::bad_request("unknown_parameter", "Unknown parameter: " + std::string(key) +
                                                       ". Give it in method.supervised.hyperparameters.", std::string(key));
}

/// method.supervised.hyperparameters, where it is given.
const json::value* supervised_settings(const json::object& body) {
  const json::value* method = body.if_contains("method");
  if (!method || method->is_null()) return nullptr;
  if (!method->is_object()) refuse("method", "must be an object");
  const json::object& fields = method->get_object();
  const json::value* type = fields.if_contains("type");
  if (!type || !type->is_string()) refuse("method.type", "must be supervised");
  if (*type == "dpo" || *type == "reinforcement")
    throw base::bad_request("unsupported_method", "The method " + std::string(type->get_string()) +
                                                      " is not supported here; use supervised.", "method.type");
  if (*type != "supervised") refuse("method.type", "must be supervised");
  allow_only(fields, {"type", "supervised"}, "method.");
  const json::value* supervised = fields.if_contains("supervised");
  if (!supervised || supervised->is_null()) return nullptr;
  if (!supervised->is_object()) refuse("method.supervised", "must be an object");
  allow_only(supervised->get_object(), {"hyperparameters"}, "method.supervised.");
  const json::value* settings = supervised->get_object().if_contains("hyperparameters");
  return settings && settings->is_null() ? nullptr : settings;
}

json::object read_hyperparameters(const json::object& body) {
  const json::value* own = supervised_settings(body);
  const json::value* top = body.if_contains("hyperparameters");
  if (top && top->is_null()) top = nullptr;
  if (own && top)
    throw base::bad_request("invalid_value",
                            "Give hyperparameters or method.supervised.hyperparameters, not both: the first is deprecated.",
                            "hyperparameters");
  if (own) return parse_hyperparameters(*own, "method.supervised.hyperparameters");
  if (top) return parse_hyperparameters(*top, "hyperparameters");
  return {};
}

}  // namespace

json::object parse_body(std::string_view body) {
  try {
    json::value value = base::parse_json(body, {.depth = 32, .bytes = body.size()});
    if (value.is_object()) return std::move(value.get_object());
  } catch (const base::JsonError& error) {
    throw base::bad_request("invalid_json", "The body is not acceptable JSON: " + std::string(error.what()) +
                                                " (byte " + std::to_string(error.offset) + ").");
  }
  throw base::bad_request("invalid_json", "The body must be a JSON object.");
}

JobRequest parse_job_request(std::string_view text) {
  const json::object body = parse_body(text);
  refuse_misplaced(body);
  JobRequest request;
  request.model = required_text(body, "model");
  request.training_file = required_text(body, "training_file");
  request.validation_file = optional_text(body, "validation_file", kMostText);
  request.suffix = read_suffix(body);
  request.seed = read_seed(body);
  request.priority = read_priority(body);
  request.payment = read_payment(body);
  request.metadata = read_metadata(body);
  request.integrations = read_integrations(body);
  request.hyperparameters = read_hyperparameters(body);
  return request;
}

}  // namespace finetuned::gateway
