#include <algorithm>
#include <boost/json/serialize.hpp>
#include <limits>
#include <utility>

#include "base/errors.h"
#include "services/inference/json_fields.h"
#include "services/inference/wire.h"

namespace finetuned::inference {

namespace {

namespace json = base::json;

constexpr std::size_t kNestingOfRequests = 32;
constexpr std::int64_t kMostIds = std::numeric_limits<std::int32_t>::max();

StoredFile read_file(const JsonFields& fields) {
  fields.only({"object", "sha256"});
  StoredFile file{fields.text("object", 1, 1024), fields.text("sha256", 64, 64)};
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (!std::all_of(file.sha256.begin(), file.sha256.end(), is_digit))
    throw FieldError(fields.name("sha256"), "must be 64 lower-case hex digits");
  return file;
}

std::optional<AdapterFiles> read_adapter(const JsonFields& fields) {
  if (fields.value("adapter").is_null()) return std::nullopt;
  const JsonFields adapter = fields.object("adapter");
  adapter.only({"weights", "config"});
  return AdapterFiles{read_file(adapter.object("weights")), read_file(adapter.object("config"))};
}

PromptTexts read_texts(const JsonFields& fields) {
  PromptTexts texts;
  for (const json::value& text : fields.array("prompts", 1, kMostPrompts))
    texts.push_back(text_of(text, "prompts[" + std::to_string(texts.size()) + "]", 0, kRequestBytes));
  return texts;
}

PromptIds read_ids(const JsonFields& fields) {
  PromptIds prompts;
  for (const json::value& value : fields.array("prompt_ids", 1, kMostPrompts)) {
    const std::string name = "prompt_ids[" + std::to_string(prompts.size()) + "]";
    const json::array* const ids = value.if_array();
    if (!ids || ids->empty() || ids->size() > kMostPromptIds)
      throw FieldError(name, "must be an array of 1 to " + std::to_string(kMostPromptIds) + " token ids");
    std::vector<std::int32_t>& prompt = prompts.emplace_back();
    for (const json::value& id : *ids) prompt.push_back(static_cast<std::int32_t>(integer_of(id, name, 0, kMostIds)));
  }
  return prompts;
}

std::variant<Chat, PromptTexts, PromptIds> read_input(const JsonFields& fields) {
  const bool chat = fields.find("messages"), texts = fields.find("prompts"), ids = fields.find("prompt_ids");
  if (chat + texts + ids != 1) throw FieldError("", "give one of 'messages', 'prompts' and 'prompt_ids'");
  if (!chat && fields.find("tools")) throw FieldError("tools", "needs 'messages'");
  if (texts) return read_texts(fields);
  if (ids) return read_ids(fields);
  Chat read;
  read.messages = fields.array("messages", 1, kMostMessages);
  if (fields.find("tools")) read.tools = fields.array("tools", 0, kMostTools);
  return read;
}

InferenceRequest read_request(const JsonFields& fields) {
  fields.only({"v", "request_id", "base", "adapter", "messages", "tools", "prompts", "prompt_ids", "n", "max_tokens",
               "temperature", "top_p", "seed", "stop", "logprobs", "echo", "deadline_ms"});
  fields.integer("v", kWireVersion, kWireVersion);
  InferenceRequest request;
  request.request_id = fields.text("request_id", 1, 128);
  request.base = fields.text("base", 1, 256);
  request.adapter = read_adapter(fields);
  request.input = read_input(fields);
  request.n = fields.integer("n", 1, kMostChoices);
  if (!fields.value("max_tokens").is_null()) request.max_tokens = fields.integer("max_tokens", 0, kMostTokens);
  request.temperature = fields.number("temperature");
  if (!(request.temperature >= 0 && request.temperature <= 2)) throw FieldError("temperature", "must be from 0 to 2");
  request.top_p = fields.number("top_p");
  if (!(request.top_p > 0 && request.top_p <= 1)) throw FieldError("top_p", "must be above 0 and at most 1");
  request.seed = static_cast<std::uint64_t>(fields.integer("seed", std::numeric_limits<std::int64_t>::min(),
                                                           std::numeric_limits<std::int64_t>::max()));
  for (const json::value& stop : fields.array("stop", 0, kMostStops))
    request.stop.push_back(text_of(stop, "stop[" + std::to_string(request.stop.size()) + "]", 1, kStopBytes));
  if (!fields.value("logprobs").is_null()) request.logprobs = fields.integer("logprobs", 0, kMostAlternatives);
  request.echo = fields.boolean("echo");
  if (request.echo && std::holds_alternative<Chat>(request.input))
    throw FieldError("echo", "goes with prompts, not with messages");
  if (request.echo && request.logprobs)
    throw FieldError("echo", "cannot go together with logprobs: a prompt's own tokens are not scored");
  request.deadline_ms = fields.integer("deadline_ms", 1, kLongestDeadlineMs);
  return request;
}

json::object file_json(const StoredFile& file) { return {{"object", file.object}, {"sha256", file.sha256}}; }

void write_input(const InferenceRequest& request, json::object& line) {
  if (const Chat* const chat = std::get_if<Chat>(&request.input)) {
    line["messages"] = chat->messages;
    if (!chat->tools.empty()) line["tools"] = chat->tools;
  } else if (const PromptTexts* const texts = std::get_if<PromptTexts>(&request.input)) {
    json::array& prompts = (line["prompts"] = json::array()).as_array();
    for (const std::string& text : *texts) prompts.emplace_back(text);
  } else {
    json::array& prompts = (line["prompt_ids"] = json::array()).as_array();
    for (const std::vector<std::int32_t>& ids : std::get<PromptIds>(request.input))
      prompts.emplace_back(json::array(ids.begin(), ids.end()));
  }
}

}  // namespace

std::size_t InferenceRequest::prompts() const {
  if (const PromptTexts* const texts = std::get_if<PromptTexts>(&input)) return texts->size();
  if (const PromptIds* const ids = std::get_if<PromptIds>(&input)) return ids->size();
  return 1;
}

InferenceRequest InferenceRequest::parse(std::string_view line) {
  try {
    const json::value value = base::parse_json(line, {kNestingOfRequests, kRequestBytes});
    return read_request(JsonFields(value, ""));
  } catch (const FieldError& fault) {
    throw base::bad_request("invalid_value", fault.what(),
                            fault.field.empty() ? std::nullopt : std::optional<std::string>(fault.field));
  } catch (const base::JsonError& fault) {
    throw base::bad_request("invalid_json", fault.what());
  }
}

std::string InferenceRequest::serialise() const {
  json::object line{{"v", kWireVersion}, {"request_id", request_id}, {"base", base}};
  line["adapter"] = nullptr;
  if (adapter) line["adapter"] = json::object{{"weights", file_json(adapter->weights)}, {"config", file_json(adapter->config)}};
  write_input(*this, line);
  line["n"] = n;
  line["max_tokens"] = nullptr;
  if (max_tokens) line["max_tokens"] = *max_tokens;
  line["temperature"] = temperature;
  line["top_p"] = top_p;
  line["seed"] = static_cast<std::int64_t>(seed);
  json::array& stops = (line["stop"] = json::array()).as_array();
  for (const std::string& one : stop) stops.emplace_back(one);
  line["logprobs"] = nullptr;
  if (logprobs) line["logprobs"] = *logprobs;
  line["echo"] = echo;
  line["deadline_ms"] = deadline_ms;
  return json::serialize(line) + "\n";
}

}  // namespace finetuned::inference
