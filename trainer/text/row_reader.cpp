#include "trainer/text/row_reader.h"

#include <algorithm>

namespace finetuned::text {

namespace json = base::json;

namespace {

std::string_view view(const json::string& text) {
  return {text.data(), text.size()};
}
std::string_view view(json::string_view text) {
  return {text.data(), text.size()};
}

const json::value* member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<Role> role_of(std::string_view name) {
  for (const Role role : {Role::kSystem, Role::kDeveloper, Role::kUser, Role::kAssistant, Role::kTool})
    if (name == role_name(role)) return role;
  return std::nullopt;
}

// The senders that ShareGPT files use.
std::optional<Role> sharegpt_role(std::string_view from) {
  if (from == "human") return Role::kUser;
  if (from == "gpt" || from == "chatgpt" || from == "model") return Role::kAssistant;
  if (from == "observation") return Role::kTool;
  return role_of(from);
}

}  // namespace

std::optional<Row> parse_row(const json::value& value, std::int64_t line, const DatasetLimits& limits,
                             FaultList& faults) {
  if (const json::object* object = value.if_object()) return RowReader(line, limits, faults).read(*object);
  faults.add({line, "", "not_an_object", "the line is no JSON object; write {\"messages\": [...]}"});
  return std::nullopt;
}

std::optional<Row> RowReader::read(const Object& object) {
  if (object.contains("messages"))
    read_chat(object);
  else if (object.contains("conversations"))
    read_sharegpt(object);
  else if (object.contains("prompt") || object.contains("completion"))
    read_completion(object);
  else if (object.contains("instruction"))
    read_alpaca(object);
  else
    fault("", "unknown_format",
          "the row has none of the fields 'messages', 'prompt' and 'completion', 'instruction' and "
          "'output', 'conversations'; add the ones of its format");
  return good_ ? std::optional<Row>(std::move(row_)) : std::nullopt;
}

void RowReader::fault(std::string field, std::string code, std::string message) {
  good_ = false;
  faults_.add({row_.line, std::move(field), std::move(code), std::move(message)});
}

std::optional<std::string> RowReader::text(const Object& object, std::string_view key,
                                           const std::string& field) {
  const json::value* value = member(object, key);
  if (value == nullptr) {
    fault(field, "missing_field", "'" + std::string(key) + "' is missing; add it as a string");
    return std::nullopt;
  }
  if (!value->is_string()) {
    fault(field, "invalid_type", "'" + std::string(key) + "' must be a string");
    return std::nullopt;
  }
  return std::string(view(value->get_string()));
}

void RowReader::add(Role role, std::string content) {
  Message message;
  message.role = role;
  message.content = std::move(content);
  assistant_seen_ = assistant_seen_ || role == Role::kAssistant;
  row_.messages.push_back(std::move(message));
}

void RowReader::read_completion(const Object& object) {
  const auto prompt = text(object, "prompt", "prompt");
  const auto completion = text(object, "completion", "completion");
  if (completion && completion->empty())
    fault("completion", "empty_completion", "'completion' is empty; write what the model should answer");
  if (!good_) return;
  row_.plain_completion = true;
  add(Role::kUser, *prompt);
  add(Role::kAssistant, *completion);
}

void RowReader::read_alpaca(const Object& object) {
  const auto instruction = text(object, "instruction", "instruction");
  const auto output = text(object, "output", "output");
  const auto input = member(object, "input") != nullptr ? text(object, "input", "input") : std::string();
  const auto system = member(object, "system") != nullptr ? text(object, "system", "system") : std::string();
  if (output && output->empty())
    fault("output", "empty_completion", "'output' is empty; write what the model should answer");
  if (!good_) return;
  if (!system->empty()) add(Role::kSystem, *system);
  add(Role::kUser, input->empty() ? *instruction : *instruction + "\n\n" + *input);
  add(Role::kAssistant, *output);
}

void RowReader::read_sharegpt(const Object& object) {
  const json::array* turns = object.at("conversations").if_array();
  if (turns == nullptr)
    return fault("conversations", "invalid_type", "'conversations' must be an array of turns");
  if (turns->size() > limits_.messages)
    return fault("conversations", "too_many_messages",
                 "the row has more than " + std::to_string(limits_.messages) + " turns; split it");
  const json::value* system = member(object, "system");
  if (system != nullptr && system->is_string() && !system->get_string().empty())
    add(Role::kSystem, std::string(view(system->get_string())));
  for (std::size_t i = 0; i < turns->size(); ++i) {
    const std::string field = "conversations[" + std::to_string(i) + "]";
    const Object* turn = (*turns)[i].if_object();
    if (turn == nullptr) {
      fault(field, "invalid_type", "a turn must be an object with 'from' and 'value'");
      continue;
    }
    const auto from = text(*turn, "from", field + ".from");
    auto value = text(*turn, "value", field + ".value");
    if (!from || !value) continue;
    const auto role = sharegpt_role(*from);
    if (!role) {
      fault(field + ".from", "unknown_role", "'" + *from + "' is not known; use human, gpt or system");
      continue;
    }
    if (value->empty() && (*role == Role::kUser || *role == Role::kAssistant))
      fault(field + ".value", "empty_content", "the turn is empty; write its text or remove it");
    add(*role, std::move(*value));
  }
  check_turns("conversations");
}

void RowReader::read_chat(const Object& object) {
  const json::array* messages = object.at("messages").if_array();
  if (messages == nullptr)
    return fault("messages", "invalid_type", "'messages' must be an array of messages");
  if (messages->empty())
    return fault("messages", "empty_messages", "'messages' is empty; add a user and an assistant message");
  if (messages->size() > limits_.messages)
    return fault("messages", "too_many_messages",
                 "the row has more than " + std::to_string(limits_.messages) + " messages; split it");
  for (std::size_t i = 0; i < messages->size(); ++i)
    read_message((*messages)[i], "messages[" + std::to_string(i) + "]");
  if (const json::value* tools = member(object, "tools")) read_tools(*tools);
  if (member(object, "functions") != nullptr)
    fault("functions", "unknown_field", "'functions' is out of date; use 'tools'");
  check_turns("messages");
}

void RowReader::check_turns(const char* list) {
  if (!assistant_seen_)
    return fault(list, "missing_assistant_message",
                 "no message is by the assistant; add the answer to be learnt, with role 'assistant'");
  const bool trained = std::ranges::any_of(
      row_.messages, [](const Message& m) { return m.role == Role::kAssistant && m.trained; });
  if (good_ && !trained)
    fault(list, "no_trained_message", "every assistant message has weight 0; give at least one weight 1");
}

void RowReader::read_message(const json::value& value, const std::string& field) {
  const Object* object = value.if_object();
  if (object == nullptr)
    return fault(field, "invalid_type", "a message must be an object with 'role' and 'content'");
  const auto role_text = text(*object, "role", field + ".role");
  const auto role = role_text ? role_of(*role_text) : std::nullopt;
  if (role_text && !role)
    fault(field + ".role", "unknown_role",
          "the role '" + *role_text + "' is not known; use system, developer, user, assistant or tool");
  assistant_seen_ = assistant_seen_ || (role_text && *role_text == role_name(Role::kAssistant));
  static constexpr std::string_view kFields[] = {"role",       "content",      "weight", "name",
                                                 "tool_calls", "tool_call_id", "refusal"};
  for (const auto& [key, unused] : *object)
    if (std::ranges::find(kFields, view(key)) == std::end(kFields))
      fault(field + "." + std::string(view(key)), "unknown_field",
            "the field is not known in a message; remove it");
  if (!role) return;
  Message message;
  message.role = *role;
  if (const json::value* name = member(*object, "name")) {
    if (name->is_string())
      message.name = view(name->get_string());
    else
      fault(field + ".name", "invalid_type", "'name' must be a string");
  }
  if (const json::value* weight = member(*object, "weight")) read_weight(*weight, message, field + ".weight");
  if (const json::value* calls = member(*object, "tool_calls"))
    read_tool_calls(*calls, message, field + ".tool_calls");
  read_tool_call_id(*object, message, field + ".tool_call_id");
  read_content(*object, message, field + ".content");
  row_.messages.push_back(std::move(message));
}

void RowReader::read_weight(const json::value& value, Message& message, const std::string& field) {
  if (message.role != Role::kAssistant)
    return fault(field, "invalid_weight", "'weight' stands on assistant messages only; remove it here");
  if (!value.is_int64() || (value.get_int64() != 0 && value.get_int64() != 1))
    return fault(field, "invalid_weight", "'weight' must be 0 (not trained on) or 1");
  message.trained = value.get_int64() == 1;
}

void RowReader::read_content(const Object& object, Message& message, const std::string& field) {
  const bool may_be_absent = message.role == Role::kAssistant && !message.tool_calls.empty();
  const json::value* content = member(object, "content");
  if (content == nullptr) {
    if (!may_be_absent && !(message.role == Role::kAssistant && object.contains("tool_calls")))
      fault(field, "missing_field", "'content' is missing; add the message's text");
    return;
  }
  if (content->is_string())
    message.content = view(content->get_string());
  else if (const json::array* parts = content->if_array())
    message.content = joined_parts(*parts, field);
  else
    return fault(field, "invalid_type", "'content' must be a string or an array of text parts");
  const bool needed = (message.role == Role::kUser || message.role == Role::kAssistant) && !may_be_absent;
  if (needed && message.content && message.content->empty())
    fault(field, "empty_content", "'content' is empty; write the message's text or remove the message");
}

std::optional<std::string> RowReader::joined_parts(const json::array& parts, const std::string& field) {
  std::string joined;
  bool whole = true;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Object* part = parts[i].if_object();
    const json::value* type = part != nullptr ? member(*part, "type") : nullptr;
    const json::value* words = part != nullptr ? member(*part, "text") : nullptr;
    const bool is_text = type != nullptr && type->is_string() && view(type->get_string()) == "text" &&
                         words != nullptr && words->is_string();
    if (is_text) {
      joined += view(words->get_string());
      continue;
    }
    whole = false;
    fault(
        field + "[" + std::to_string(i) + "]", "unsupported_content_part",
        "only parts {\"type\": \"text\", \"text\": \"...\"} are supported; remove images, audio and others");
  }
  return whole ? std::optional(std::move(joined)) : std::nullopt;
}

void RowReader::read_tool_calls(const json::value& value, Message& message, const std::string& field) {
  if (message.role != Role::kAssistant)
    return fault(field, "invalid_tool_call", "tool calls stand on assistant messages only; remove them here");
  const json::array* calls = value.if_array();
  if (calls == nullptr) return fault(field, "invalid_type", "'tool_calls' must be an array");
  for (std::size_t i = 0; i < calls->size(); ++i)
    read_tool_call((*calls)[i], field + "[" + std::to_string(i) + "]");
  message.tool_calls = *calls;
}

void RowReader::read_tool_call(const json::value& value, const std::string& field) {
  const Object* call = value.if_object();
  if (call == nullptr)
    return fault(field, "invalid_tool_call",
                 "a tool call must be an object with 'id', 'type' and 'function'");
  const json::value* id = member(*call, "id");
  if (id == nullptr || !id->is_string() || id->get_string().empty())
    fault(field + ".id", "invalid_tool_call", "a tool call needs an 'id', a string");
  else
    call_ids_.insert(std::string(view(id->get_string())));
  const json::value* type = member(*call, "type");
  if (type == nullptr || !type->is_string() || view(type->get_string()) != "function")
    fault(field + ".type", "invalid_tool_call", "a tool call's 'type' must be 'function'");
  const json::value* function = member(*call, "function");
  const Object* body = function != nullptr ? function->if_object() : nullptr;
  if (body == nullptr)
    return fault(field + ".function", "invalid_tool_call",
                 "a tool call needs a 'function' with 'name' and 'arguments'");
  const json::value* name = member(*body, "name");
  if (name == nullptr || !name->is_string() || name->get_string().empty())
    fault(field + ".function.name", "invalid_tool_call", "the called function needs a 'name', a string");
  const json::value* arguments = member(*body, "arguments");
  bool good = arguments != nullptr && arguments->is_object();
  if (arguments != nullptr && arguments->is_string()) {
    try {
      good = base::parse_json(view(arguments->get_string()), {.depth = 32, .bytes = limits_.line_bytes})
                 .is_object();
    } catch (const base::JsonError&) {
      good = false;
    }
  }
  if (!good)
    fault(field + ".function.arguments", "invalid_tool_call",
          "'arguments' must be a string that holds a JSON object, such as \"{}\"");
}

void RowReader::read_tool_call_id(const Object& object, Message& message, const std::string& field) {
  const json::value* id = member(object, "tool_call_id");
  if (message.role != Role::kTool) {
    if (id != nullptr)
      fault(field, "unknown_field", "'tool_call_id' stands on tool messages only; remove it here");
    return;
  }
  if (id == nullptr)
    return fault(field, "missing_field", "a tool message needs the 'tool_call_id' of the call it answers");
  if (!id->is_string()) return fault(field, "invalid_type", "'tool_call_id' must be a string");
  message.tool_call_id = view(id->get_string());
  if (!call_ids_.contains(message.tool_call_id))
    fault(field, "unknown_tool_call_id",
          "no tool call before this message has the id '" + message.tool_call_id +
              "'; correct it or add the call");
}

void RowReader::read_tools(const json::value& value) {
  const json::array* tools = value.if_array();
  if (tools == nullptr) return fault("tools", "invalid_type", "'tools' must be an array");
  for (std::size_t i = 0; i < tools->size(); ++i) {
    const std::string field = "tools[" + std::to_string(i) + "]";
    const Object* tool = (*tools)[i].if_object();
    const json::value* type = tool != nullptr ? member(*tool, "type") : nullptr;
    const json::value* function = tool != nullptr ? member(*tool, "function") : nullptr;
    const Object* body = function != nullptr ? function->if_object() : nullptr;
    const json::value* name = body != nullptr ? member(*body, "name") : nullptr;
    const bool good = type != nullptr && type->is_string() && view(type->get_string()) == "function" &&
                      name != nullptr && name->is_string() && !name->get_string().empty();
    if (!good)
      fault(field, "invalid_tool",
            "a tool must be {\"type\": \"function\", \"function\": {\"name\": ..., \"parameters\": {...}}}");
  }
  row_.tools = *tools;
}

}  // namespace finetuned::text
