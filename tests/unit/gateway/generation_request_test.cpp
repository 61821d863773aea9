#include "services/gateway/generation_request.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include "base/errors.h"
#include "services/inference/wire.h"

namespace finetuned::gateway {
namespace {

struct Refusal {
  std::string code;
  std::string param;
  bool operator==(const Refusal&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Refusal& refusal) { return out << refusal.code << " " << refusal.param; }

template <class Parse>
Refusal refusal_of(Parse parse, const std::string& body) {
  try {
    parse(body);
  } catch (const base::ApiError& error) {
    EXPECT_EQ(error.status, 400);
    return {error.code, error.param.value_or("")};
  }
  return {"accepted", ""};
}
Refusal chat_refusal(const std::string& body) { return refusal_of(parse_chat_request, body); }
Refusal completion_refusal(const std::string& body) { return refusal_of(parse_text_request, body); }

std::string chat(const std::string& more) {
  return R"({"model":"m","messages":[{"role":"user","content":"hi"}])" + (more.empty() ? "" : "," + more) + "}";
}
std::string with_messages(const std::string& messages) { return R"({"model":"m","messages":)" + messages + "}"; }
std::string completion(const std::string& more) {
  return R"({"model":"m","prompt":"once")" + (more.empty() ? "" : "," + more) + "}";
}
std::string messages_of(const std::string& given) {
  return boost::json::serialize(parse_chat_request(with_messages(given)).messages);
}

TEST(GenerationRequest, IsBoundedByItsBytesAndTheContext) {
  const auto of = [](const GenerationRequest& request, std::int64_t context) {
    const TokenBounds most = most_tokens(request, context);
    return std::pair(most.input, most.output);
  };
  using Bounds = std::pair<std::int64_t, std::int64_t>;
  const auto text = [](const std::string& more) { return parse_text_request(R"({"model":"m",)" + more + "}"); };
  EXPECT_EQ(of(text(R"("prompt":"once")"), 1000), (Bounds{3 * 4 + 8, 16}));
  EXPECT_EQ(of(text(R"("prompt":["once","a"],"n":2,"best_of":2,"max_tokens":5)"), 1000), (Bounds{20 + 11, 2 * 2 * 5})) << "a prompt counts once";
  EXPECT_EQ(of(text(R"("prompt":[[1,2,3],[4]],"max_tokens":7)"), 1000), (Bounds{4, 14})) << "ids are what they are";
  EXPECT_EQ(of(text(R"("prompt":["once","a"],"max_tokens":5000)"), 10), (Bounds{20, 20})) << "the context, each";
  EXPECT_EQ(of(parse_chat_request(chat("")), 100'000).second, inference::kMostNewTokens);
  EXPECT_EQ(of(parse_chat_request(chat(R"("max_tokens":3,"n":4)")), 100'000).second, 12);
  const std::string message = R"([{"role":"user","content":"hi"}])";
  EXPECT_EQ(of(parse_chat_request(chat("")), 100'000).first, 3 * static_cast<std::int64_t>(message.size()) + 2048 + 64);
}

TEST(GenerationRequest, MayComeToItsPromptAndWhatItAllows) {
  const auto chat = [](const std::string& more) {
    return likely_tokens(parse_chat_request(R"({"model":"m","messages":[{"role":"user","content":"12345"},{"role":"user","content":"678"}])" + more + "}"));
  };
  EXPECT_EQ(chat(""), 2 + 16);
  EXPECT_EQ(chat(R"(,"max_tokens":100,"n":3)"), 2 + 300);
  EXPECT_EQ(chat(R"(,"max_tokens":1000000)"), 2 + inference::kMostNewTokens) << "no worker makes more";
  const auto completion = [](const std::string& prompt) {
    return likely_tokens(parse_text_request(R"({"model":"m","max_tokens":10,"prompt":)" + prompt + "}"));
  };
  EXPECT_EQ(completion(R"(["12345678","1234"])"), 3 + 20);
  EXPECT_EQ(completion("[[1,2,3],[4]]"), 4 + 20);
}

TEST(ChatRequest, HasOpenAisDefaults) {
  const auto request = parse_chat_request(chat(""));
  EXPECT_TRUE(request.chat);
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.n, 1);
  EXPECT_EQ(request.temperature, 1);
  EXPECT_EQ(request.top_p, 1);
  EXPECT_FALSE(request.max_tokens || request.seed || request.logprobs);
  EXPECT_FALSE(request.stream || request.include_usage || request.echo);
  EXPECT_TRUE(request.stop.empty());
}

TEST(ChatRequest, ReadsEverything) {
  const auto request = parse_chat_request(chat(
      R"("n":3,"temperature":0.25,"top_p":0.5,"seed":7,"stop":["a","b"],"max_completion_tokens":9,"logprobs":true,
         "top_logprobs":4,"stream":true,"stream_options":{"include_usage":true})"));
  EXPECT_EQ(request.n, 3);
  EXPECT_EQ(request.temperature, 0.25);
  EXPECT_EQ(request.top_p, 0.5);
  EXPECT_EQ(request.seed, 7u);
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.max_tokens, 9);
  EXPECT_EQ(request.logprobs, 4);
  EXPECT_TRUE(request.stream && request.include_usage);
}

TEST(ChatRequest, ReadsWhatMeansTheSame) {
  EXPECT_EQ(parse_chat_request(chat(R"("max_tokens":5)")).max_tokens, 5);
  EXPECT_EQ(parse_chat_request(chat(R"("stop":"x")")).stop, std::vector<std::string>{"x"});
  EXPECT_EQ(parse_chat_request(chat(R"("logprobs":true)")).logprobs, 0);
  EXPECT_FALSE(parse_chat_request(chat(R"("logprobs":false)")).logprobs);
  const auto likeliest = parse_chat_request(chat(R"("top_p":0)"));
  EXPECT_EQ(likeliest.temperature, 0);
  EXPECT_GT(likeliest.top_p, 0);
  const auto negative = parse_chat_request(chat(R"("seed":-1)"));
  EXPECT_EQ(negative.seed, 0xffffffffffffffffu);
  EXPECT_EQ(chat_refusal(chat(R"("temperature":null,"n":null,"stop":null,"stream":null,"stream_options":null,"tools":null)")).code,
            "accepted");
}

TEST(ChatRequest, IgnoresWhatChangesNothing) {
  for (const char* more : {R"("user":"u")", R"("metadata":{"a":"b"})", R"("store":true)", R"("service_tier":"auto")", R"("foo":1)",
                           R"("presence_penalty":0,"frequency_penalty":0.0)", R"("logit_bias":{})", R"("tools":[])",
                           R"("response_format":{"type":"text"})", R"("modalities":["text"])", R"("tool_choice":"none")"})
    EXPECT_EQ(chat_refusal(chat(more)).code, "accepted") << more;
}

TEST(ChatRequest, RefusesWhatCannotBeHonoured) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("tools":[{"type":"function","function":{"name":"f"}}])", "tools"},
      {R"("functions":[{"name":"f"}])", "functions"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("response_format":{"type":"json_object"})", "response_format"},
      {R"("response_format":{"type":"json_schema","json_schema":{}})", "response_format"},
      {R"("logit_bias":{"5":1})", "logit_bias"},
      {R"("presence_penalty":0.5)", "presence_penalty"},
      {R"("frequency_penalty":-1)", "frequency_penalty"},
      {R"("modalities":["text","audio"])", "modalities"},
      {R"("audio":{"voice":"x","format":"wav"})", "audio"},
      {R"("reasoning_effort":"low")", "reasoning_effort"},
  };
  for (const auto& [more, param] : cases) EXPECT_EQ(chat_refusal(chat(more)), (Refusal{"unsupported_parameter", param})) << more;
}

TEST(ChatRequest, NamesTheParameterAtFault) {
  const std::pair<std::string, std::string> cases[] = {
      {chat(R"("n":0)"), "n"},
      {chat(R"("n":9)"), "n"},
      {chat(R"("temperature":2.1)"), "temperature"},
      {chat(R"("temperature":"1")"), "temperature"},
      {chat(R"("top_p":-0.1)"), "top_p"},
      {chat(R"("max_tokens":0)"), "max_tokens"},
      {chat(R"("max_tokens":1,"max_completion_tokens":2)"), "max_tokens"},
      {chat(R"("seed":1.5)"), "seed"},
      {chat(R"("stop":["a","b","c","d","e"])"), "stop"},
      {chat(R"("stop":"")"), "stop"},
      {chat(R"("stop":[1])"), "stop"},
      {chat(R"("logprobs":5)"), "logprobs"},
      {chat(R"("top_logprobs":2)"), "top_logprobs"},
      {chat(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs"},
      {chat(R"("stream":"yes")"), "stream"},
      {chat(R"("stream_options":{"include_usage":true})"), "stream_options"},
      {chat(R"("stream":true,"stream_options":{"include_usage":1})"), "stream_options.include_usage"},
      {with_messages("[]"), "messages"},
      {with_messages(R"("hi")"), "messages"},
      {with_messages(R"(["hi"])"), "messages[0]"},
      {with_messages(R"([{"content":"x"}])"), "messages[0].role"},
      {with_messages(R"([{"role":"king","content":"x"}])"), "messages[0].role"},
      {with_messages(R"([{"role":"user","content":7}])"), "messages[0].content"},
      {with_messages(R"([{"role":"user","content":[]}])"), "messages[0].content"},
      {with_messages(R"([{"role":"user","content":[{"type":"poem"}]}])"), "messages[0].content[0].type"},
      {with_messages(R"([{"role":"user","content":"a"},{"role":"user","content":[{"type":"text"}]}])"), "messages[1].content[0].text"},
      {with_messages(R"([{"role":"user","content":"a","tool_calls":[]}])"), "messages[0].tool_calls"},
      {with_messages(R"([{"role":"assistant","tool_calls":[{"id":"a","type":"function"}]}])"), "messages[0].tool_calls[0].function"},
  };
  for (const auto& [body, param] : cases) EXPECT_EQ(chat_refusal(body), (Refusal{"invalid_value", param})) << body;
}

TEST(ChatRequest, NamesWhatIsMissing) {
  EXPECT_EQ(chat_refusal(R"({"messages":[]})"), (Refusal{"missing_required_parameter", "model"}));
  EXPECT_EQ(chat_refusal(R"({"model":"m"})"), (Refusal{"missing_required_parameter", "messages"}));
  EXPECT_EQ(chat_refusal(with_messages(R"([{"role":"user"}])")), (Refusal{"missing_required_parameter", "messages[0].content"}));
  EXPECT_EQ(chat_refusal(with_messages(R"([{"role":"tool","content":"x"}])")),
            (Refusal{"missing_required_parameter", "messages[0].tool_call_id"}));
  EXPECT_EQ(chat_refusal("[]").code, "invalid_json");
}

TEST(ChatRequest, TakesTextInAnyShape) {
  EXPECT_EQ(messages_of(R"([{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"extra":1}])"),
            R"([{"role":"user","content":"ab"}])");
  EXPECT_EQ(messages_of(R"([{"role":"developer","content":"d","name":"n"},{"role":"assistant","content":null,"refusal":"no"}])"),
            R"([{"role":"developer","content":"d","name":"n"},{"role":"assistant","content":"no"}])");
  const std::string call = R"([{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}])";
  EXPECT_EQ(messages_of(R"([{"role":"assistant","content":null,"tool_calls":)" + call +
                        R"(},{"role":"tool","content":"4","tool_call_id":"c"}])"),
            R"([{"role":"assistant","tool_calls":)" + call + R"(},{"role":"tool","content":"4","tool_call_id":"c"}])");
}

TEST(ChatRequest, RefusesPartsThatAreNoText) {
  for (const char* type : {"image_url", "input_audio", "file"})
    EXPECT_EQ(chat_refusal(with_messages(R"([{"role":"user","content":[{"type":")" + std::string(type) + R"("}]}])")),
              (Refusal{"unsupported_parameter", "messages[0].content[0].type"}));
  EXPECT_EQ(chat_refusal(with_messages(R"([{"role":"function","name":"f","content":"x"}])")),
            (Refusal{"unsupported_parameter", "messages[0].role"}));
}

TEST(TextRequest, TakesPromptsInAnyShape) {
  const auto parse = [](const std::string& prompt) { return parse_text_request(R"({"model":"m","prompt":)" + prompt + "}"); };
  EXPECT_EQ(parse(R"("a")").prompts, std::vector<std::string>{"a"});
  EXPECT_EQ(parse(R"(["a","b"])").prompts, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(parse("[1,2]").prompt_ids, (std::vector<std::vector<std::int32_t>>{{1, 2}}));
  EXPECT_EQ(parse("[[1,2],[3]]").prompt_ids, (std::vector<std::vector<std::int32_t>>{{1, 2}, {3}}));
  for (const char* prompt : {"7", "{}", "[]", "[[]]", "[-1]", "[1.5]", R"([1,"a"])", R"(["a",[1]])", R"([[1],"a"])", "[2147483648]", "[true]",
                             "[[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1]]"})
    EXPECT_EQ(completion_refusal(R"({"model":"m","prompt":)" + std::string(prompt) + "}"), (Refusal{"invalid_value", "prompt"})) << prompt;
  EXPECT_EQ(completion_refusal(R"({"model":"m"})"), (Refusal{"missing_required_parameter", "prompt"}));
}

TEST(TextRequest, HasItsOwnDefaultsAndBounds) {
  const auto request = parse_text_request(completion(""));
  EXPECT_FALSE(request.chat || request.echo || request.logprobs);
  EXPECT_EQ(request.max_tokens, 16);
  const auto scored = parse_text_request(completion(R"("echo":true,"max_tokens":0,"best_of":1)"));
  EXPECT_TRUE(scored.echo);
  EXPECT_EQ(scored.max_tokens, 0);
  EXPECT_EQ(parse_text_request(completion(R"("logprobs":5)")).logprobs, 5);
  EXPECT_EQ(completion_refusal(completion(R"("logprobs":0,"echo":true)")), (Refusal{"unsupported_parameter", "logprobs"}));
  EXPECT_EQ(completion_refusal(completion(R"("max_tokens":0)")), (Refusal{"invalid_value", "max_tokens"}));
  EXPECT_EQ(completion_refusal(completion(R"("logprobs":6)")), (Refusal{"invalid_value", "logprobs"}));
  EXPECT_EQ(completion_refusal(completion(R"("echo":1)")), (Refusal{"invalid_value", "echo"}));
  EXPECT_EQ(completion_refusal(completion(R"("best_of":2)")), (Refusal{"unsupported_parameter", "best_of"}));
  EXPECT_EQ(completion_refusal(completion(R"("suffix":"end")")), (Refusal{"unsupported_parameter", "suffix"}));
}

}  // namespace
}  // namespace finetuned::gateway
