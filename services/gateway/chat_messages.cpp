#include "services/gateway/chat_messages.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/errors.h"
#include "services/gateway/body_fields.h"
#include "services/inference/wire.h"

namespace finetuned::gateway {

namespace json = base::json;
using inference::kMostMessages;

namespace {

constexpr std::array<std::string_view, 5> kRoles{"system", "developer", "user", "assistant", "tool"};
constexpr std::size_t kMostParts = 1024, kMostCalls = 128, kMostName = 256;

[[noreturn]] void refuse(const std::string& param, const std::string& why) {
  throw base::bad_request("invalid_value", param + " " + why + ".", param);
}

[[noreturn]] void unsupported(const std::string& param, const std::string& why) {
  throw base::bad_request("unsupported_parameter", param + " is not supported here: " + why + ".", param);
}

/// The member as a text; throws where it is absent or anything else.
std::string text_of(const json::object& object, const char* key, const std::string& path) {
  const json::value* value = object.if_contains(key);
  if (!value || !value->is_string()) refuse(path + "." + key, "must be a string");
  return std::string(value->get_string());
}

const json::object& object_of(const json::value& value, const std::string& path) {
  if (!value.is_object()) refuse(path, "must be an object");
  return value.get_object();
}

std::string text_of_part(const json::value& value, const std::string& role, const std::string& path) {
  const json::object& part = object_of(value, path);
  const std::string type = text_of(part, "type", path);
  if (type == "text") return text_of(part, "text", path);
  if (type == "refusal" && role == "assistant") return text_of(part, "refusal", path);
  if (type == "image_url" || type == "input_audio" || type == "file")
    unsupported(path + ".type", "models take text only, no part of type " + type);
  refuse(path + ".type", "must be text");
}

/// A text, or the texts of its parts in a row, as in datasets.
std::string read_content(const json::value& content, const std::string& role, const std::string& path) {
  if (content.is_string()) return std::string(content.get_string());
  const json::array* parts = content.if_array();
  if (!parts || parts->empty() || parts->size() > kMostParts)
    refuse(path, "must be a string or an array of 1 to " + std::to_string(kMostParts) + " parts of type text");
  std::string text;
  for (std::size_t i = 0; i < parts->size(); ++i)
    text += text_of_part((*parts)[i], role, path + "[" + std::to_string(i) + "]");
  return text;
}

/// Calls that the assistant made earlier: the template shows them to the model.
json::array read_tool_calls(const json::value& value, const std::string& path) {
  const json::array* calls = value.if_array();
  if (!calls || calls->empty() || calls->size() > kMostCalls)
    refuse(path, "must be an array of 1 to " + std::to_string(kMostCalls) + " tool calls");
  for (std::size_t i = 0; i < calls->size(); ++i) {
    const std::string at = path + "[" + std::to_string(i) + "]";
    const json::object& call = object_of((*calls)[i], at);
    text_of(call, "id", at);
    if (text_of(call, "type", at) != "function") unsupported(at + ".type", "tool calls are of type function");
    const json::value* function = call.if_contains("function");
    if (!function) refuse(at + ".function", "must be an object");
    const json::object& called = object_of(*function, at + ".function");
    text_of(called, "name", at + ".function");
    text_of(called, "arguments", at + ".function");
  }
  return *calls;
}

json::object read_message(const json::value& value, const std::string& path) {
  const json::object& given = object_of(value, path);
  const BodyFields fields(given, path + ".");
  const std::string role = text_of(given, "role", path);
  if (role == "function") unsupported(path + ".role", "use the role tool");
  if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end())
    refuse(path + ".role", "must be system, developer, user, assistant or tool");
  for (const char* key : {"audio", "function_call"})
    if (fields.find(key)) unsupported(path + "." + key, "leave it out");
  json::object message;
  message["role"] = role;
  const json::value* calls = fields.find("tool_calls");
  if (calls && role != "assistant") refuse(path + ".tool_calls", "stands on messages of the assistant only");
  const json::value* content = fields.find("content");
  if (!content && !calls) {
    const auto refusal = role == "assistant" ? fields.find("refusal") : nullptr;
    if (!refusal || !refusal->is_string())
      throw base::bad_request("missing_required_parameter", "Missing required parameter: " + path + ".content.",
                              path + ".content");
    message["content"] = *refusal;
  }
  if (content) message["content"] = read_content(*content, role, path + ".content");
  if (const auto name = fields.text("name", kMostName)) message["name"] = *name;
  if (calls) message["tool_calls"] = read_tool_calls(*calls, path + ".tool_calls");
  if (role == "tool") message["tool_call_id"] = fields.required("tool_call_id", fields.text("tool_call_id", kMostName));
  return message;
}

}  // namespace

json::array read_chat_messages(const json::value& value) {
  const json::array* given = value.if_array();
  if (!given || given->empty() || given->size() > kMostMessages)
    refuse("messages", "must be an array of 1 to " + std::to_string(kMostMessages) + " messages");
  json::array messages;
  for (std::size_t i = 0; i < given->size(); ++i)
    messages.push_back(read_message((*given)[i], "messages[" + std::to_string(i) + "]"));
  return messages;
}

}  // namespace finetuned::gateway
