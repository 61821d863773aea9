#include "services/gateway/completion_shapes.h"

#include <gtest/gtest.h>

namespace finetuned::gateway {
namespace {

namespace json = base::json;
using inference::ChoiceEnd;
using inference::ChosenToken;
using inference::Done;
using inference::FinishReason;
using inference::TextPiece;
using inference::TokenProbability;

const Done kDone{7, 3, "fp_0123456789abcdef"};

AnswerIdentity identity(bool chat, std::size_t choices = 1) {
  AnswerIdentity identity;
  identity.chat = chat;
  identity.id = chat ? "chatcmpl-1" : "cmpl-1";
  identity.created = 1700000000;
  identity.model = "m";
  identity.choices = choices;
  return identity;
}

/// A piece of a character has the text that the wire says it with.
std::string text_of(const std::string& bytes) { return bytes.size() == 1 && (bytes[0] & 0x80) ? "\uFFFD" : bytes; }
TokenProbability alternative(const std::string& bytes, double logprob) { return {text_of(bytes), bytes, logprob}; }
ChosenToken token(const std::string& bytes, double logprob, std::vector<TokenProbability> top = {}) {
  ChosenToken token;
  token.text = text_of(bytes);
  token.bytes = bytes;
  token.logprob = logprob;
  token.top = std::move(top);
  return token;
}

/// The objects of a stream's events; the last is a string where it is `[DONE]`.
std::vector<json::value> events(const std::string& text) {
  std::vector<json::value> all;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find("\n\n", at);
    EXPECT_EQ(text.substr(at, 6), "data: ");
    const std::string data = text.substr(at + 6, end - at - 6);
    all.push_back(data == "[DONE]" ? json::value(data) : base::parse_json(data));
    at = end + 2;
  }
  return all;
}

/// The events of an answer's lines and of its end.
template <class... Lines>
std::vector<json::value> streamed(StreamedAnswer& answer, const Lines&... lines) {
  std::string text;
  ((text += answer.add(lines)), ...);
  text += answer.finish(kDone);
  return events(text);
}

json::value parsed(const char* text) { return base::parse_json(text); }

TEST(WholeAnswer, IsOpenAisChatCompletion) {
  WholeAnswer answer(identity(true));
  answer.add(TextPiece{0, "Hel", {}});
  answer.add(TextPiece{0, "lo", {}});
  answer.add(ChoiceEnd{0, FinishReason::kStop});
  EXPECT_EQ(json::value(answer.finish(kDone)), parsed(R"({"id":"chatcmpl-1","object":"chat.completion","created":1700000000,
    "model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello","refusal":null,"annotations":[],"audio":null},
    "logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,
    "prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,
    "accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"system_fingerprint":"fp_0123456789abcdef",
    "service_tier":"default","metadata":null,"moderation":null})"));
}

TEST(WholeAnswer, IsOpenAisTextCompletion) {
  WholeAnswer answer(identity(false, 2));
  answer.add(TextPiece{1, "b", {}});
  answer.add(ChoiceEnd{1, FinishReason::kLength});
  answer.add(ChoiceEnd{0, FinishReason::kStop});
  const json::value shape = answer.finish(kDone);
  EXPECT_EQ(shape.at("object"), "text_completion");
  EXPECT_EQ(shape.at("choices"), parsed(R"([{"index":0,"text":"","logprobs":null,"finish_reason":"stop"},
                                            {"index":1,"text":"b","logprobs":null,"finish_reason":"length"}])"));
  EXPECT_EQ(shape.at("usage").at("total_tokens"), 10);
  EXPECT_EQ(shape.at("system_fingerprint"), "fp_0123456789abcdef");
}

TEST(WholeAnswer, TellsAChatsLogProbabilities) {
  AnswerIdentity with = identity(true);
  with.logprobs = true;
  WholeAnswer answer(with);
  answer.add(TextPiece{0, "é", {token("\xc3", -0.5, {alternative("\xc3", -0.5)}), token("\xa9", -0.25)}});
  answer.add(ChoiceEnd{0, FinishReason::kStop});
  EXPECT_EQ(json::value(answer.finish(kDone)).at("choices").at(0).at("logprobs"),
            parsed(R"({"content":[{"token":"\ufffd","logprob":-0.5,"bytes":[195],
                        "top_logprobs":[{"token":"\ufffd","logprob":-0.5,"bytes":[195]}]},
                      {"token":"\ufffd","logprob":-0.25,"bytes":[169],"top_logprobs":[]}],"refusal":null})"));
}

TEST(WholeAnswer, TellsATextsLogProbabilitiesWithOffsetsInCharacters) {
  AnswerIdentity with = identity(false);
  with.logprobs = true;
  WholeAnswer answer(with);
  answer.add(TextPiece{0, "é!", {token("\xc3", -0.5), token("\xa9", -0.25), token("!", -1, {alternative("?", -0.125)})}});
  answer.add(TextPiece{0, "x", {token("x", -2)}});
  answer.add(ChoiceEnd{0, FinishReason::kStop});
  const json::value shape = answer.finish(kDone);
  const auto& logprobs = shape.at("choices").at(0).at("logprobs");
  EXPECT_EQ(logprobs.at("text_offset"), parsed("[0,1,1,2]"));
  EXPECT_EQ(logprobs.at("token_logprobs"), parsed("[-0.5,-0.25,-1.0,-2.0]"));
  EXPECT_EQ(logprobs.at("tokens"), parsed(R"(["\ufffd","\ufffd","!","x"])"));
  EXPECT_EQ(logprobs.at("top_logprobs").at(2), parsed(R"({"?":-0.125,"!":-1.0})")) << "the chosen one is among them";
}

TEST(WholeAnswer, RefusesLinesThatMakeNoSense) {
  WholeAnswer answer(identity(true));
  EXPECT_THROW(answer.add(TextPiece{1, "a", {}}), inference::WireError);
  EXPECT_THROW(answer.finish(kDone), inference::WireError);
  answer.add(ChoiceEnd{0, FinishReason::kStop});
  EXPECT_THROW(answer.add(TextPiece{0, "a", {}}), inference::WireError);
  EXPECT_THROW(answer.add(ChoiceEnd{0, FinishReason::kStop}), inference::WireError);
}

TEST(StreamedAnswer, IsAChatsChunks) {
  AnswerIdentity with = identity(true);
  with.include_usage = true;
  StreamedAnswer answer(with);
  const auto all = streamed(answer, TextPiece{0, "Hi", {}}, ChoiceEnd{0, FinishReason::kLength});
  ASSERT_EQ(all.size(), 5u);
  const char* choices[] = {
      R"([{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}])",
      R"([{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}])",
      R"([{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}])", "[]"};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(all[i].at("choices"), parsed(choices[i])) << i;
    EXPECT_EQ(all[i].at("object"), "chat.completion.chunk");
    EXPECT_EQ(all[i].at("id"), "chatcmpl-1");
    EXPECT_EQ(all[i].at("created"), 1700000000);
    EXPECT_EQ(all[i].at("model"), "m");
    EXPECT_EQ(all[i].at("usage").is_null(), i < 3);
    EXPECT_EQ(all[i].as_object().contains("system_fingerprint"), i >= 2) << "it comes at the end";
  }
  EXPECT_EQ(all[3].at("usage").at("completion_tokens"), 3);
  EXPECT_EQ(all[4], "[DONE]");
}

TEST(StreamedAnswer, HasNoUsageUnlessItWasAskedFor) {
  StreamedAnswer answer(identity(true));
  const auto all = streamed(answer, ChoiceEnd{0, FinishReason::kStop});
  ASSERT_EQ(all.size(), 3u);
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(all[i].as_object().contains("usage"));
  EXPECT_EQ(all[0].at("choices").at(0).at("delta").at("role"), "assistant") << "an empty answer begins, too";
}

TEST(StreamedAnswer, BeginsAndEndsEachChoice) {
  StreamedAnswer answer(identity(true, 2));
  const auto all = streamed(answer, TextPiece{1, "b", {}}, TextPiece{0, "a", {}}, TextPiece{1, "b", {}},
                            ChoiceEnd{0, FinishReason::kStop}, TextPiece{1, "", {}}, ChoiceEnd{1, FinishReason::kLength});
  int roles[2] = {}, ends[2] = {};
  std::string contents[2];
  for (const auto& event : all) {
    if (!event.is_object()) continue;
    const auto& choice = event.at("choices").at(0);
    const auto index = choice.at("index").as_int64();
    const auto& delta = choice.at("delta").as_object();
    EXPECT_EQ(ends[index], 0) << "nothing after a choice's end";
    roles[index] += delta.contains("role");
    ends[index] += !choice.at("finish_reason").is_null();
    if (const auto* content = delta.if_contains("content")) contents[index] += std::string(content->as_string());
  }
  for (const int i : {0, 1}) {
    EXPECT_EQ(roles[i], 1);
    EXPECT_EQ(ends[i], 1);
  }
  EXPECT_EQ(contents[0], "a");
  EXPECT_EQ(contents[1], "bb");
}

TEST(StreamedAnswer, IsATextsPieces) {
  AnswerIdentity with = identity(false);
  with.logprobs = true;
  StreamedAnswer answer(with);
  const auto all = streamed(answer, TextPiece{0, "ab", {token("ab", -1)}}, TextPiece{0, "c", {token("c", -1)}},
                            ChoiceEnd{0, FinishReason::kStop});
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].at("object"), "text_completion");
  EXPECT_EQ(all[1].at("choices").at(0).at("text"), "c");
  EXPECT_EQ(all[1].at("choices").at(0).at("logprobs").at("text_offset"), parsed("[2]")) << "offsets go on";
  EXPECT_EQ(all[2].at("choices"), parsed(R"([{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}])"));
  EXPECT_EQ(all[3], "[DONE]");
}

TEST(StreamedAnswer, EndsBrokenWithAnError) {
  const auto all = events(StreamedAnswer::broken({500, "server_error", "generation_failed", "It broke."}));
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0], parsed(R"({"error":{"message":"It broke.","type":"server_error","param":null,"code":"generation_failed"}})"));
}

TEST(StreamedAnswer, RefusesLinesThatMakeNoSense) {
  StreamedAnswer answer(identity(false));
  EXPECT_THROW(answer.add(TextPiece{1, "a", {}}), inference::WireError);
  EXPECT_THROW(answer.finish(kDone), inference::WireError);
  answer.add(ChoiceEnd{0, FinishReason::kStop});
  EXPECT_THROW(answer.add(TextPiece{0, "a", {}}), inference::WireError);
}

}  // namespace
}  // namespace finetuned::gateway
