#include "services/inference/wire.h"

#include <gtest/gtest.h>

#include "base/errors.h"

namespace finetuned::inference {
namespace {

const std::string kSha(64, 'a');

InferenceRequest full_request() {
  InferenceRequest request;
  request.request_id = "req_1";
  request.base = "tiny";
  request.adapter = AdapterFiles{{"w", kSha}, {"c", kSha}};
  request.input = PromptTexts{"a\n\"b\"", "", "\xc3\xa9"};
  request.n = 2;
  request.max_tokens = 7;
  request.temperature = 0.25;
  request.top_p = 0.5;
  request.seed = 0xffff'ffff'ffff'fffeULL;
  request.stop = {"\n", "end"};
  request.logprobs = 3;
  request.deadline_ms = 1234;
  return request;
}

std::string line_of(const InferenceRequest& request) {
  std::string line = request.serialise();
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  line.pop_back();
  return line;
}

void expect_refused(std::string line, const std::string& from, const std::string& to, const std::string& param) {
  const std::size_t at = line.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  line.replace(at, from.size(), to);
  try {
    InferenceRequest::parse(line);
    FAIL() << line;
  } catch (const base::ApiError& error) {
    EXPECT_EQ(error.status, 400);
    EXPECT_EQ(error.param.value_or(""), param) << error.what();
  }
}

TEST(Wire, ARequestComesBackAsItWasSent) {
  const InferenceRequest sent = full_request();
  const InferenceRequest got = InferenceRequest::parse(line_of(sent));
  EXPECT_EQ(got.request_id, "req_1");
  EXPECT_EQ(got.base, "tiny");
  ASSERT_TRUE(got.adapter);
  EXPECT_EQ(got.adapter->weights.object, "w");
  EXPECT_EQ(got.adapter->config.sha256, kSha);
  EXPECT_EQ(std::get<PromptTexts>(got.input), std::get<PromptTexts>(sent.input));
  EXPECT_EQ(got.choices(), 6u);
  EXPECT_EQ(got.max_tokens, 7);
  EXPECT_EQ(got.temperature, 0.25);
  EXPECT_EQ(got.top_p, 0.5);
  EXPECT_EQ(got.seed, sent.seed);
  EXPECT_EQ(got.stop, sent.stop);
  EXPECT_EQ(got.logprobs, 3);
  EXPECT_FALSE(got.echo);
  EXPECT_EQ(got.deadline_ms, 1234);
}

TEST(Wire, MessagesAndTheirToolsComeBackAsTheyWereSent) {
  InferenceRequest sent = full_request();
  Chat chat;
  chat.messages.push_back(base::json::object{{"role", "user"}, {"content", "hi"}});
  chat.tools.push_back(base::json::object{{"type", "function"}});
  sent.input = chat;
  const InferenceRequest got = InferenceRequest::parse(line_of(sent));
  EXPECT_EQ(std::get<Chat>(got.input).messages, chat.messages);
  EXPECT_EQ(std::get<Chat>(got.input).tools, chat.tools);
  EXPECT_EQ(got.choices(), 2u);
}

TEST(Wire, TokenIdsNullsAndEchoComeBackAsTheyWereSent) {
  InferenceRequest sent = full_request();
  sent.input = PromptIds{{1, 2}, {3}};
  sent.adapter.reset();
  sent.max_tokens.reset();
  sent.logprobs.reset();
  sent.echo = true;
  const InferenceRequest got = InferenceRequest::parse(line_of(sent));
  EXPECT_EQ(std::get<PromptIds>(got.input), (PromptIds{{1, 2}, {3}}));
  EXPECT_FALSE(got.adapter || got.max_tokens || got.logprobs);
  EXPECT_TRUE(got.echo);
}

TEST(Wire, ARequestOutOfItsBoundsIsRefusedByItsField) {
  const std::string line = line_of(full_request());
  expect_refused(line, "\"v\":2", "\"v\":1", "v");
  expect_refused(line, "\"n\":2", "\"n\":9", "n");
  expect_refused(line, "\"n\":2", "\"n\":2.0", "n");
  expect_refused(line, "\"n\":2,", "", "n");
  expect_refused(line, "\"n\":2", "\"n\":2,\"m\":3", "m");
  expect_refused(line, "\"max_tokens\":7", "\"max_tokens\":-1", "max_tokens");
  expect_refused(line, "\"temperature\":2.5E-1", "\"temperature\":2.5", "temperature");
  expect_refused(line, "\"top_p\":5E-1", "\"top_p\":0", "top_p");
  expect_refused(line, "[\"\\n\",\"end\"]", "[\"a\",\"\"]", "stop[1]");
  expect_refused(line, "[\"\\n\",\"end\"]", "[\"a\",\"b\",\"c\",\"d\",\"e\"]", "stop");
  expect_refused(line, "\"logprobs\":3", "\"logprobs\":21", "logprobs");
  expect_refused(line, "\"echo\":false", "\"echo\":true", "echo");
  expect_refused(line, "\"deadline_ms\":1234", "\"deadline_ms\":600001", "deadline_ms");
  expect_refused(line, kSha, std::string(64, 'A'), "adapter.weights.sha256");
  expect_refused(line, "\"object\":\"w\"", "\"object\":\"\"", "adapter.weights.object");
  expect_refused(line, "\"prompts\"", "\"messages\":[{}],\"prompts\"", "");
  expect_refused(line, "\"prompts\"", "\"tools\":[{}],\"prompts\"", "tools");
  expect_refused(line, "\"prompts\"", "\"prompt_ids\"", "prompt_ids[0]");
}

TEST(Wire, ARequestBeyondItsBytesIsRefused) {
  InferenceRequest request = full_request();
  request.input = PromptTexts{std::string(kRequestBytes, 'x')};
  EXPECT_THROW(InferenceRequest::parse(line_of(request)), base::ApiError);
}

TEST(Wire, AnswersComeBackAsTheyWereSent) {
  const ChosenToken token{{"\xef\xbf\xbd", "\xc3", -0.5}, {{"a", "a", -0.25}, {"\xef\xbf\xbd", "\xc3", -0.5}}};
  for (const AnswerLine& line : std::vector<AnswerLine>{
           Begun{17}, TextPiece{127, "a\nb", {}, 3}, TextPiece{1, std::string("a\0b", 3), {}}, TextPiece{0, "", {token, {{"z", "z", -1}, {}}}}, ChoiceEnd{3, FinishReason::kLength},
           ChoiceEnd{3, FinishReason::kStop, 2}, Done{5, 6, "fp_0123456789abcdef"},
           Failure{429, "rate_limit_error", "engine_overloaded", "busy", std::nullopt, 1000},
           Failure{400, "invalid_request_error", "invalid_value", "no", "n", std::nullopt}}) {
    const std::string text = serialise(line);
    EXPECT_EQ(text.find('\n'), text.size() - 1);
    EXPECT_EQ(parse_answer(text), line) << text;
  }
}

TEST(Wire, AnAnswerThatIsNoneIsRefused) {
  for (const char* line : {"", "[]", "{}", R"({"choice":0})", R"({"choice":128,"text":"","computed":1})", R"({"choice":0,"finish":"no","computed":1})",
                           R"({"choice":0,"text":""})", R"({"choice":0,"text":"","computed":-1})", R"({"choice":0,"finish":"stop"})",
                           R"({"begun":false,"prompt_tokens":1})", R"({"begun":true})", R"({"begun":true,"prompt_tokens":1,"text":""})",
                           R"({"done":false,"prompt_tokens":1,"completion_tokens":1,"model_fingerprint":"f"})",
                           R"({"choice":0,"text":"","computed":1,"tokens":[{"text":"a","bytes":[256],"logprob":0,"top":[]}]})",
                           R"({"error":{"status":200,"type":"a","code":"b","message":"c"}})"})
    EXPECT_THROW(parse_answer(line), WireError) << line;
}

}  // namespace
}  // namespace finetuned::inference
