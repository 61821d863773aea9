#include "services/gateway/generation_request.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <limits>

#include "base/errors.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/chat_messages.h"
#include "services/gateway/job_request.h"
#include "services/inference/wire.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

using inference::kMostPrompts;
using inference::kMostStops;
using inference::kMostTokens;
using inference::kStopBytes;

constexpr std::size_t kMostModelName = 300;
constexpr std::int64_t kDefaultTokens = 16, kMostLogprobs = 5;  // of a text completion
constexpr std::int64_t kBytesAToken = 4;
// NFC makes at most three bytes of one, and a byte is a token at least; then what is put around a text, and by a template into a chat.
constexpr std::int64_t kMostTokensAByte = 3, kAroundText = 8, kAroundChat = 2048, kAroundMessage = 64;

[[noreturn]] void unsupported(const std::string& param, const std::string& why) {
  throw base::bad_request("unsupported_parameter", param + " is not supported here: " + why + ".", param);
}

bool is_empty(const json::value& value) {
  return (value.is_array() && value.get_array().empty()) || (value.is_object() && value.get_object().empty());
}

/// What OpenAI has and no model here can do: refused, since the answer would be another than the one that was asked for.
void refuse_unsupported(const BodyFields& fields) {
  for (const char* key : {"tools", "functions", "logit_bias"})
    if (const auto* value = fields.find(key); value && !is_empty(*value)) unsupported(key, "leave it out");
  for (const char* key : {"presence_penalty", "frequency_penalty"})
    if (fields.number(key, -2, 2).value_or(0) != 0) unsupported(key, "leave it out, or send 0");
  for (const char* key : {"tool_choice", "function_call"})
    if (const auto* value = fields.find(key); value && *value != "none" && *value != "auto")
      unsupported(key, "no model here calls tools");
  for (const char* key : {"audio", "web_search_options", "reasoning_effort", "verbosity", "suffix"})
    if (fields.find(key)) unsupported(key, "leave it out");
  if (const auto* format = fields.find("response_format"); format) {
    const json::value* type = format->is_object() ? format->get_object().if_contains("type") : nullptr;
    if (!type || *type != "text") unsupported("response_format", "answers are of type text");
  }
  if (const auto* modalities = fields.find("modalities"); modalities && *modalities != json::value(json::array{"text"}))
    unsupported("modalities", "answers are text only");
}

std::vector<std::string> read_stop(const BodyFields& fields) {
  std::vector<std::string> stop;
  const json::value* value = fields.find("stop");
  if (!value) return stop;
  const auto add = [&](const json::value& one) {
    if (!one.is_string() || one.get_string().empty() || one.get_string().size() > kStopBytes)
      fields.wrong("stop", "must be a string of 1 to 1024 bytes, or an array of up to 4 such strings");
    stop.emplace_back(one.get_string());
  };
  if (!value->is_array()) {
    add(*value);
    return stop;
  }
  if (value->get_array().size() > kMostStops) fields.wrong("stop", "must hold at most 4 strings");
  for (const json::value& one : value->get_array()) add(one);
  return stop;
}

void read_streaming(const BodyFields& fields, GenerationRequest& request) {
  request.stream = fields.boolean("stream").value_or(false);
  const json::value* options = fields.find("stream_options");
  if (!options) return;
  if (!request.stream) fields.wrong("stream_options", "is only allowed when stream is true");
  if (!options->is_object()) fields.wrong("stream_options", "must be an object");
  request.include_usage =
      BodyFields(options->get_object(), "stream_options.").boolean("include_usage").value_or(false);
}

/// What both kinds of requests have.
GenerationRequest read_common(const BodyFields& fields) {
  GenerationRequest request;
  request.model = fields.required("model", fields.text("model", kMostModelName));
  refuse_unsupported(fields);
  request.n = static_cast<int>(fields.integer("n", 1, inference::kMostChoices).value_or(1));
  request.temperature = fields.number("temperature", 0, 2).value_or(1);
  request.top_p = fields.number("top_p", 0, 1).value_or(1);
  if (request.top_p == 0) {  // the likeliest token alone
    request.top_p = 1;
    request.temperature = 0;
  }
  const auto seed = fields.integer("seed", std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max());
  if (seed) request.seed = static_cast<std::uint64_t>(*seed);
  request.stop = read_stop(fields);
  read_streaming(fields, request);
  return request;
}

std::vector<std::int32_t> read_ids(const BodyFields& fields, const json::array& ids) {
  std::vector<std::int32_t> tokens;
  for (const json::value& id : ids) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() > std::numeric_limits<std::int32_t>::max())
      fields.wrong("prompt", "must hold either strings, or token ids, or arrays of token ids");
    tokens.push_back(static_cast<std::int32_t>(id.get_int64()));
  }
  if (tokens.empty()) fields.wrong("prompt", "must not hold an empty array");
  return tokens;
}

void read_prompt(const BodyFields& fields, GenerationRequest& request) {
  const json::value* prompt = fields.find("prompt");
  if (!prompt) throw base::bad_request("missing_required_parameter", "Missing required parameter: prompt.", "prompt");
  if (prompt->is_string()) {
    request.prompts.emplace_back(prompt->get_string());
    return;
  }
  const json::array* all = prompt->if_array();
  if (!all || all->empty()) fields.wrong("prompt", "must be a string, or an array that is not empty");
  if (all->front().is_number()) {
    request.prompt_ids.push_back(read_ids(fields, *all));
    return;
  }
  if (all->size() > kMostPrompts) fields.wrong("prompt", "must hold at most " + std::to_string(kMostPrompts) + " prompts");
  for (const json::value& one : *all) {
    if (one.is_string() && request.prompt_ids.empty()) request.prompts.emplace_back(one.get_string());
    else if (one.is_array() && request.prompts.empty()) request.prompt_ids.push_back(read_ids(fields, one.get_array()));
    else fields.wrong("prompt", "must hold either strings, or token ids, or arrays of token ids");
  }
}

}  // namespace

std::int64_t likely_tokens(const GenerationRequest& request) {
  std::int64_t bytes = 0, ids = 0;
  for (const json::value& message : request.messages) {
    const json::value* content = message.is_object() ? message.get_object().if_contains("content") : nullptr;
    if (content && content->is_string()) bytes += static_cast<std::int64_t>(content->get_string().size());
  }
  for (const std::string& prompt : request.prompts) bytes += static_cast<std::int64_t>(prompt.size());
  for (const auto& prompt : request.prompt_ids) ids += static_cast<std::int64_t>(prompt.size());
  const std::int64_t prompts = std::max<std::int64_t>(1, static_cast<std::int64_t>(request.prompts.size() + request.prompt_ids.size()));
  return (bytes + kBytesAToken - 1) / kBytesAToken + ids + prompts * request.n * std::min(request.max_tokens.value_or(kDefaultTokens), inference::kMostNewTokens);
}

TokenBounds most_tokens(const GenerationRequest& request, std::int64_t context) {
  TokenBounds most;
  const auto of_bytes = [&](std::size_t bytes, std::int64_t around) {
    return std::min(context, kMostTokensAByte * static_cast<std::int64_t>(bytes) + around);
  };
  std::int64_t prompts = 0;
  if (request.chat) {
    const auto around = kAroundChat + kAroundMessage * static_cast<std::int64_t>(request.messages.size());
    most.input = of_bytes(json::serialize(request.messages).size(), around);
    prompts = 1;
  }
  for (const std::string& prompt : request.prompts) most.input += of_bytes(prompt.size(), kAroundText), ++prompts;
  for (const auto& prompt : request.prompt_ids) most.input += std::min(context, static_cast<std::int64_t>(prompt.size())), ++prompts;
  const std::int64_t each = std::min({request.max_tokens.value_or(inference::kMostNewTokens), inference::kMostNewTokens, context});
  most.output = prompts * request.n * each;
  return most;
}

GenerationRequest parse_chat_request(std::string_view text) {
  const json::object body = parse_body(text);
  const BodyFields fields(body);
  GenerationRequest request = read_common(fields);
  request.chat = true;
  const json::value* messages = fields.find("messages");
  if (!messages) throw base::bad_request("missing_required_parameter", "Missing required parameter: messages.", "messages");
  request.messages = read_chat_messages(*messages);
  request.max_tokens = fields.integer("max_completion_tokens", 1, kMostTokens);
  const auto older = fields.integer("max_tokens", 1, kMostTokens);
  if (older && request.max_tokens && *older != *request.max_tokens)
    fields.wrong("max_tokens", "is the older name of max_completion_tokens: give one of them");
  if (!request.max_tokens) request.max_tokens = older;
  const auto most = fields.integer("top_logprobs", 0, inference::kMostAlternatives);
  const bool wanted = fields.boolean("logprobs").value_or(false);
  if (most && !wanted) fields.wrong("top_logprobs", "is only allowed when logprobs is true");
  if (wanted) request.logprobs = static_cast<int>(most.value_or(0));
  return request;
}

GenerationRequest parse_text_request(std::string_view text) {
  const json::object body = parse_body(text);
  const BodyFields fields(body);
  GenerationRequest request = read_common(fields);
  read_prompt(fields, request);
  request.echo = fields.boolean("echo").value_or(false);
  request.max_tokens = fields.integer("max_tokens", request.echo ? 0 : 1, kMostTokens).value_or(kDefaultTokens);
  if (const auto logprobs = fields.integer("logprobs", 0, kMostLogprobs)) request.logprobs = static_cast<int>(*logprobs);
  if (request.echo && request.logprobs) unsupported("logprobs", "together with echo; leave one of them out");
  if (fields.integer("best_of", 0, 20).value_or(request.n) != request.n)
    unsupported("best_of", "leave it out, or send as many as n");
  return request;
}

}  // namespace finetuned::gateway
