#include "services/gateway/completion_shapes.h"

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "services/gateway/render.h"

namespace finetuned::gateway {

namespace json = base::json;
using inference::ChoiceEnd;
using inference::ChosenToken;
using inference::Done;
using inference::TextPiece;
using inference::TokenProbability;
using inference::WireError;

namespace {

json::object token_shape(const TokenProbability& token) {
  json::object shape;
  shape["token"] = token.text;
  shape["logprob"] = token.logprob;
  json::array& bytes = (shape["bytes"] = json::array()).as_array();
  for (const char byte : token.bytes) bytes.emplace_back(static_cast<std::int64_t>(static_cast<unsigned char>(byte)));
  return shape;
}

json::object chat_logprobs(const std::vector<ChosenToken>& tokens) {
  json::array content;
  for (const ChosenToken& token : tokens) {
    json::object shape = token_shape(token);
    json::array& top = (shape["top_logprobs"] = json::array()).as_array();
    for (const TokenProbability& one : token.top) top.push_back(token_shape(one));
    content.push_back(std::move(shape));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

/// Characters that begin in these bytes.
std::int64_t characters_in(std::string_view bytes) {
  return std::count_if(bytes.begin(), bytes.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

/// `offset`: characters of the choice's text before the first of these tokens; moved behind the last.
json::object text_logprobs(const std::vector<ChosenToken>& tokens, std::int64_t& offset) {
  json::array texts, logprobs, tops, offsets;
  for (const ChosenToken& token : tokens) {
    const std::string text = token.text;
    json::object top;
    for (const TokenProbability& one : token.top) top.emplace(one.text, one.logprob);
    top.emplace(text, token.logprob);  // as OpenAI does: the chosen one is always among them
    texts.emplace_back(text);
    logprobs.emplace_back(token.logprob);
    tops.push_back(std::move(top));
    offsets.emplace_back(offset);
    offset += characters_in(token.bytes);
  }
  return {{"tokens", std::move(texts)}, {"token_logprobs", std::move(logprobs)}, {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

json::value logprobs_shape(const AnswerIdentity& identity, const std::vector<ChosenToken>& tokens, std::int64_t& offset) {
  if (!identity.logprobs) return nullptr;
  if (identity.chat) return chat_logprobs(tokens);
  return text_logprobs(tokens, offset);
}

json::object head_shape(const AnswerIdentity& identity, const char* object) {
  json::object shape;
  shape["id"] = identity.id;
  shape["object"] = object;
  shape["created"] = identity.created;
  shape["model"] = identity.model;
  return shape;
}

WireError unexpected(std::size_t choice) {
  return WireError("an answer of the inference service: choice " + std::to_string(choice) + " is not expected");
}

std::string server_sent(const json::object& data) { return "data: " + json::serialize(data) + "\n\n"; }

}  // namespace

json::object usage_shape(const Done& done) {
  json::object shape;
  shape["prompt_tokens"] = done.prompt_tokens;
  shape["completion_tokens"] = done.completion_tokens;
  shape["total_tokens"] = done.prompt_tokens + done.completion_tokens;
  shape["prompt_tokens_details"] = json::object{{"cached_tokens", 0}, {"audio_tokens", 0}};
  shape["completion_tokens_details"] = json::object{{"reasoning_tokens", 0},
                                                    {"audio_tokens", 0},
                                                    {"accepted_prediction_tokens", 0},
                                                    {"rejected_prediction_tokens", 0}};
  return shape;
}

WholeAnswer::WholeAnswer(const AnswerIdentity& identity) : identity_(identity), choices_(identity.choices) {}

WholeAnswer::Choice& WholeAnswer::open_choice(std::size_t index) {
  if (index >= choices_.size() || choices_[index].finish) throw unexpected(index);
  return choices_[index];
}

void WholeAnswer::add(const TextPiece& piece) {
  Choice& choice = open_choice(piece.choice);
  choice.text += piece.text;
  choice.tokens.insert(choice.tokens.end(), piece.tokens.begin(), piece.tokens.end());
}

void WholeAnswer::add(const ChoiceEnd& end) { open_choice(end.choice).finish = end.finish; }

json::object WholeAnswer::finish(const Done& done) const {
  json::object shape = head_shape(identity_, identity_.chat ? "chat.completion" : "text_completion");
  json::array choices;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    if (!choice.finish) throw WireError("an answer of the inference service: choice " + std::to_string(i) + " has no end");
    json::object one;
    one["index"] = static_cast<std::int64_t>(i);
    if (identity_.chat)
      one["message"] = json::object{{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr},
                                    {"annotations", json::array()}, {"audio", nullptr}};
    else
      one["text"] = choice.text;
    std::int64_t offset = 0;
    one["logprobs"] = logprobs_shape(identity_, choice.tokens, offset);
    one["finish_reason"] = inference::finish_name(*choice.finish);
    choices.push_back(std::move(one));
  }
  shape["choices"] = std::move(choices);
  shape["usage"] = usage_shape(done);
  shape["system_fingerprint"] = done.model_fingerprint;
  if (identity_.chat) {
    shape["service_tier"] = "default";
    shape["metadata"] = nullptr;
    shape["moderation"] = nullptr;
  }
  return shape;
}

StreamedAnswer::StreamedAnswer(const AnswerIdentity& identity)
    : identity_(identity), progress_(identity.choices, Progress::kSilent), characters_(identity.choices, 0) {}

std::string StreamedAnswer::event(json::array choices, json::value usage) {
  json::object shape = head_shape(identity_, identity_.chat ? "chat.completion.chunk" : "text_completion");
  if (identity_.chat) shape["service_tier"] = "default";
  if (!fingerprint_.empty()) shape["system_fingerprint"] = fingerprint_;
  shape["choices"] = std::move(choices);
  if (identity_.include_usage) shape["usage"] = std::move(usage);
  return server_sent(shape);
}

std::string StreamedAnswer::piece(std::size_t index, const TextPiece* piece, const std::optional<std::string>& finish) {
  json::object one;
  one["index"] = static_cast<std::int64_t>(index);
  if (!identity_.chat) one["text"] = piece ? piece->text : "";
  else one["delta"] = piece ? json::object{{"content", piece->text}} : json::object();
  one["logprobs"] = nullptr;
  if (piece) one["logprobs"] = logprobs_shape(identity_, piece->tokens, characters_[index]);
  one["finish_reason"] = nullptr;
  if (finish) one["finish_reason"] = *finish;
  json::array choices;
  choices.push_back(std::move(one));
  return event(std::move(choices), nullptr);
}

/// A chat's choice says first whose it is.
std::string StreamedAnswer::begin(std::size_t index) {
  if (index >= progress_.size() || progress_[index] == Progress::kEnded) throw unexpected(index);
  const bool silent = std::exchange(progress_[index], Progress::kBegun) == Progress::kSilent;
  if (!silent || !identity_.chat) return "";
  json::object one;
  one["index"] = static_cast<std::int64_t>(index);
  one["delta"] = json::object{{"role", "assistant"}, {"content", ""}, {"refusal", nullptr}};
  one["logprobs"] = nullptr;
  one["finish_reason"] = nullptr;
  json::array choices;
  choices.push_back(std::move(one));
  return event(std::move(choices), nullptr);
}

std::string StreamedAnswer::add(const TextPiece& text) {
  std::string events = begin(text.choice);
  if (!text.text.empty() || !text.tokens.empty()) events += piece(text.choice, &text, std::nullopt);
  return events;
}

std::string StreamedAnswer::add(const ChoiceEnd& end) {
  std::string events = begin(end.choice);
  progress_[end.choice] = Progress::kEnded;
  if (const auto earlier = std::exchange(held_, end))
    events += piece(earlier->choice, nullptr, std::string(inference::finish_name(earlier->finish)));
  return events;
}

std::string StreamedAnswer::finish(const Done& done) {
  for (std::size_t i = 0; i < progress_.size(); ++i)
    if (progress_[i] != Progress::kEnded)
      throw WireError("an answer of the inference service: choice " + std::to_string(i) + " has no end");
  fingerprint_ = done.model_fingerprint;
  std::string events;
  if (held_) events = piece(held_->choice, nullptr, std::string(inference::finish_name(held_->finish)));
  if (identity_.include_usage) events += event(json::array(), usage_shape(done));
  return events + "data: [DONE]\n\n";
}

std::string StreamedAnswer::broken(const base::ApiError& error) { return "data: " + render_error(error).body + "\n\n"; }

}  // namespace finetuned::gateway
