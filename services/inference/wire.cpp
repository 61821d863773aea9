#include "services/inference/wire.h"

#include <boost/json/serialize.hpp>

#include "services/inference/json_fields.h"

namespace finetuned::inference {

namespace {

namespace json = base::json;

constexpr std::int64_t kMostCount = std::int64_t{1} << 40;
constexpr std::size_t kMostAnswerTokens = 1u << 16;  // of one piece
constexpr std::size_t kTokenBytes = 1u << 16;

TokenProbability read_probability(const JsonFields& fields) {
  TokenProbability token;
  token.text = fields.text("text", 0, 3 * kTokenBytes);
  for (const json::value& byte : fields.array("bytes", 0, kTokenBytes))
    token.bytes.push_back(static_cast<char>(integer_of(byte, fields.name("bytes"), 0, 255)));
  token.logprob = fields.number("logprob");
  return token;
}

ChosenToken read_chosen(const json::value& value) {
  const JsonFields fields(value, "tokens.");
  fields.only({"text", "bytes", "logprob", "top"});
  ChosenToken token{read_probability(fields), {}};
  for (const json::value& one : fields.array("top", 0, static_cast<std::size_t>(kMostAlternatives))) {
    const JsonFields top(one, "tokens.top.");
    top.only({"text", "bytes", "logprob"});
    token.top.push_back(read_probability(top));
  }
  return token;
}

std::size_t read_choice(const JsonFields& fields) {
  constexpr std::int64_t kLast = static_cast<std::int64_t>(kMostPrompts) * kMostChoices - 1;
  return static_cast<std::size_t>(fields.integer("choice", 0, kLast));
}

std::int64_t read_computed(const JsonFields& fields) { return fields.integer("computed", 0, kMostCount); }

AnswerLine read_choice_line(const JsonFields& fields) {
  if (fields.find("finish")) {
    fields.only({"choice", "finish", "computed"});
    const std::string name = fields.text("finish", 1, 16);
    for (const FinishReason reason : {FinishReason::kStop, FinishReason::kLength})
      if (name == finish_name(reason)) return ChoiceEnd{read_choice(fields), reason, read_computed(fields)};
    throw FieldError("finish", "must be 'stop' or 'length'");
  }
  fields.only({"choice", "text", "tokens", "computed"});
  TextPiece piece{read_choice(fields), fields.text("text", 0, kAnswerBytes), {}, read_computed(fields)};
  if (fields.find("tokens"))
    for (const json::value& token : fields.array("tokens", 0, kMostAnswerTokens)) piece.tokens.push_back(read_chosen(token));
  return piece;
}

Failure read_failure(const JsonFields& fields) {
  fields.only({"status", "type", "code", "message", "param", "retry_after_ms"});
  Failure failure;
  failure.status = static_cast<int>(fields.integer("status", 400, 599));
  failure.type = fields.text("type", 1, 64);
  failure.code = fields.text("code", 1, 64);
  failure.message = fields.text("message", 1, 1u << 16);
  if (fields.find("param")) failure.param = fields.text("param", 1, 256);
  if (fields.find("retry_after_ms")) failure.retry_after_ms = fields.integer("retry_after_ms", 0, kLongestDeadlineMs);
  return failure;
}

AnswerLine read_answer(const JsonFields& fields) {
  if (fields.find("error")) {
    fields.only({"error"});
    return read_failure(fields.object("error"));
  }
  if (fields.find("begun")) {
    fields.only({"begun", "prompt_tokens"});
    if (!fields.boolean("begun")) throw FieldError("begun", "must be true");
    return Begun{fields.integer("prompt_tokens", 0, kMostCount)};
  }
  if (!fields.find("done")) return read_choice_line(fields);
  fields.only({"done", "prompt_tokens", "completion_tokens", "model_fingerprint"});
  if (!fields.boolean("done")) throw FieldError("done", "must be true");
  return Done{fields.integer("prompt_tokens", 0, kMostCount), fields.integer("completion_tokens", 0, kMostCount),
              fields.text("model_fingerprint", 1, 64)};
}

json::object probability_json(const TokenProbability& token) {
  json::array bytes;
  for (const char byte : token.bytes) bytes.emplace_back(static_cast<std::int64_t>(static_cast<unsigned char>(byte)));
  return {{"text", token.text}, {"bytes", std::move(bytes)}, {"logprob", token.logprob}};
}

json::object line_json(const Begun& begun) { return {{"begun", true}, {"prompt_tokens", begun.prompt_tokens}}; }

json::object line_json(const TextPiece& piece) {
  json::object line{{"choice", static_cast<std::int64_t>(piece.choice)}, {"text", piece.text}, {"computed", piece.computed}};
  if (piece.tokens.empty()) return line;
  json::array& tokens = (line["tokens"] = json::array()).as_array();
  for (const ChosenToken& token : piece.tokens) {
    json::object chosen = probability_json(token);
    json::array& top = (chosen["top"] = json::array()).as_array();
    for (const TokenProbability& one : token.top) top.push_back(probability_json(one));
    tokens.push_back(std::move(chosen));
  }
  return line;
}

json::object line_json(const ChoiceEnd& end) {
  return {{"choice", static_cast<std::int64_t>(end.choice)}, {"finish", finish_name(end.finish)}, {"computed", end.computed}};
}

json::object line_json(const Done& done) {
  return {{"done", true},
          {"prompt_tokens", done.prompt_tokens},
          {"completion_tokens", done.completion_tokens},
          {"model_fingerprint", done.model_fingerprint}};
}

json::object line_json(const Failure& failure) {
  json::object error{{"status", failure.status}, {"type", failure.type}, {"code", failure.code}, {"message", failure.message}};
  error["param"] = nullptr;
  if (failure.param) error["param"] = *failure.param;
  if (failure.retry_after_ms) error["retry_after_ms"] = *failure.retry_after_ms;
  return {{"error", std::move(error)}};
}

}  // namespace

std::string_view finish_name(FinishReason reason) { return reason == FinishReason::kStop ? "stop" : "length"; }

AnswerLine parse_answer(std::string_view line) {
  try {
    const json::value value = base::parse_json(line, {.depth = 8, .bytes = kAnswerBytes, .nul = true});
    return read_answer(JsonFields(value, ""));
  } catch (const FieldError& fault) {
    throw WireError(std::string("an answer of the inference service: ") + fault.what());
  } catch (const base::JsonError& fault) {
    throw WireError(std::string("an answer of the inference service: ") + fault.what());
  }
}

std::string serialise(const AnswerLine& line) {
  return json::serialize(std::visit([](const auto& one) { return line_json(one); }, line)) + "\n";
}

}  // namespace finetuned::inference
