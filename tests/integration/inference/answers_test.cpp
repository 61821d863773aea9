#include <sys/stat.h>

#include <cmath>
#include <cstdio>

#include "base/errors.h"
#include "base/sha256.h"
#include "tests/integration/inference/service_fixture.h"
#include "trainer/text/utf8.h"

namespace finetuned::inference {
namespace {

/// What `finetuned ARGUMENTS` prints.
std::string program(const std::string& arguments) {
  FILE* const out = ::popen((std::string(FINETUNED_PROGRAM) + " " + arguments).c_str(), "r");
  std::string text;
  char piece[4096];
  for (std::size_t got = 0; (got = std::fread(piece, 1, sizeof piece, out)) > 0;) text.append(piece, got);
  EXPECT_EQ(::pclose(out), 0);
  return text;
}

class AnswersTest : public ServiceTest {};

TEST_F(AnswersTest, AnAnswerIsWhatFinetunedGenerateSays) {
  const AdapterFiles files = make_adapter("a", 1);
  start();
  const std::string common = "generate --base " + base_.directory + " --max-tokens 24 --temperature 0.8 --top-p 0.9 --seed 11";
  InferenceRequest asked = request("how many apples");
  asked.temperature = 0.8;
  asked.top_p = 0.9;
  asked.seed = 11;
  EXPECT_EQ(ask(asked).texts.at(0) + "\n", program(common + " --prompt 'how many apples'"));
  asked.adapter = files;
  EXPECT_EQ(ask(asked).texts.at(0) + "\n",
            program(common + " --prompt 'how many apples' --adapter " + (data_.path() / "a").string()));
  Chat chat;
  chat.messages.push_back(base::json::object{{"role", "user"}, {"content", "how many figs are there?"}});
  asked.input = chat;
  EXPECT_EQ(ask(asked).texts.at(0) + "\n",
            program(common + " --chat --prompt 'how many figs are there?' --adapter " + (data_.path() / "a").string()));
}

TEST_F(AnswersTest, SixteenRequestsTogetherGetWhatEachGetsAlone) {
  start();
  std::vector<InferenceRequest> requests;
  std::vector<Reply> replies(16);
  std::vector<std::jthread> clients;
  for (std::size_t i = 0; i < 16; ++i) {
    requests.push_back(request("basket " + std::to_string(i) + std::string(i, '!'), static_cast<std::int64_t>(20 + i)));
    requests.back().temperature = i % 3 == 0 ? 0 : 1;
    requests.back().seed = i;
  }
  for (std::size_t i = 0; i < 16; ++i) clients.emplace_back([&, i] { replies[i] = ask(requests[i]); });
  clients.clear();
  for (std::size_t i = 0; i < 16; ++i) {
    ASSERT_TRUE(replies[i].done) << i;
    EXPECT_EQ(replies[i].texts[0], alone(requests[i])) << i;
  }
  EXPECT_EQ(service_->base_reads(), 1);
}

TEST_F(AnswersTest, AdaptersAnswerEachForItselfWhenTheyAreAskedByTurns) {
  const AdapterFiles a = make_adapter("a", 1), b = make_adapter("b", 2), wide = make_adapter("wide", 3, 6);
  start();
  InferenceRequest asked = request("how many pears are in the basket");
  const std::string said_a = alone(asked, "a"), said_b = alone(asked, "b");
  ASSERT_NE(said_a, said_b);
  ASSERT_NE(said_a, alone(asked));
  std::vector<std::jthread> clients;
  for (int round = 0; round < 3; ++round) {
    for (const auto& [files, name] : std::vector<std::pair<std::optional<AdapterFiles>, std::string>>{
             {a, "a"}, {b, "b"}, {std::nullopt, ""}, {wide, "wide"}}) {
      clients.emplace_back([this, asked, files = files, name = name]() mutable {
        asked.adapter = files;
        const Reply reply = ask(asked);
        ASSERT_TRUE(reply.done) << (reply.failure ? reply.failure->message : "");
        EXPECT_EQ(reply.texts.at(0), alone(asked, name)) << "adapter '" << name << "'";
      });
    }
  }
  clients.clear();
  EXPECT_EQ(service_->base_reads(), 1);
}

TEST_F(AnswersTest, ChoicesOfAPromptDrawFromSeedsInARow) {
  start();
  InferenceRequest asked = request("how many plums");
  asked.n = 3;
  asked.input = PromptTexts{"how many plums", "how many plums"};
  const Reply reply = ask(asked);
  ASSERT_EQ(reply.texts.size(), 6u);
  ASSERT_EQ(reply.finishes.size(), 6u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(reply.texts.at(i), alone(asked, "", i));
    EXPECT_EQ(reply.texts.at(i), reply.texts.at(3 + i));
  }
  EXPECT_NE(reply.texts.at(0), reply.texts.at(1));
  const auto prompt = text::Tokenizer::load(base_.directory).encode("how many plums");
  EXPECT_EQ(reply.done->prompt_tokens, static_cast<std::int64_t>(2 * prompt.size()));
}

TEST_F(AnswersTest, TextEndsBeforeAStopStringAndStreamsInPieces) {
  start();
  InferenceRequest asked = request("how many limes", 60);
  asked.temperature = 1;
  const Reply whole = ask(asked);
  const std::string text = whole.texts.at(0);
  ASSERT_GT(text.size(), 20u);
  EXPECT_GT(whole.pieces, 5u);
  // Three whole characters out of its middle; what stands before their first place is the answer.
  std::size_t begin = text.size() / 2, end = begin;
  const auto is_inside = [&](std::size_t at) { return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; };
  while (is_inside(begin)) ++begin;
  end = begin;
  for (int i = 0; i < 3; ++i)
    do ++end;
    while (is_inside(end));
  asked.stop = {text.substr(begin, end - begin)};
  const Reply stopped = ask(asked);
  EXPECT_EQ(stopped.texts.at(0), text.substr(0, text.find(asked.stop[0])));
  EXPECT_EQ(stopped.finishes.at(0), FinishReason::kStop);
  EXPECT_LT(stopped.done->completion_tokens, whole.done->completion_tokens);
}

TEST_F(AnswersTest, TokensComeWithTheirProbabilitiesAndTheirBytesAreTheText) {
  start();
  InferenceRequest asked = request("how many limes", 40);
  asked.logprobs = 5;
  const Reply reply = ask(asked);
  const auto& tokens = reply.tokens.at(0);
  ASSERT_EQ(reply.finishes.at(0), FinishReason::kLength);
  ASSERT_EQ(tokens.size(), 40u);
  const text::Tokenizer tokenizer = text::Tokenizer::load(base_.directory);
  std::string bytes;
  for (const ChosenToken& token : tokens) {
    const auto id = tokenizer.id_of(token.bytes);
    if (!id || !tokenizer.is_special(*id)) bytes += token.bytes;  // the text leaves those out
    EXPECT_LE(token.logprob, 0);
    ASSERT_EQ(token.top.size(), 5u);
    double sum = 0;
    for (std::size_t i = 0; i < 5; ++i) {
      sum += std::exp(token.top[i].logprob);
      EXPECT_GE(token.top[i == 0 ? 0 : i - 1].logprob, token.top[i].logprob);
    }
    EXPECT_LE(sum, 1 + 1e-9);
    EXPECT_LE(token.logprob, token.top[0].logprob);
  }
  asked.logprobs.reset();
  const Reply without = ask(asked);
  EXPECT_EQ(without.texts.at(0), reply.texts.at(0));
  EXPECT_TRUE(without.tokens.empty());
  EXPECT_EQ(text::to_valid_utf8(bytes), reply.texts.at(0));
}

TEST_F(AnswersTest, AnEchoStandsBeforeTheAnswerAndNoTokensMakeAnEmptyOne) {
  start();
  InferenceRequest asked = request("how many limes");
  asked.echo = true;
  EXPECT_EQ(ask(asked).texts.at(0), "how many limes" + alone(asked));
  asked.max_tokens = 0;
  const Reply reply = ask(asked);
  EXPECT_EQ(reply.texts.at(0), "how many limes");
  EXPECT_EQ(reply.finishes.at(0), FinishReason::kLength);
  EXPECT_EQ(reply.done->completion_tokens, 0);
}

TEST_F(AnswersTest, TheFingerprintIsOfBaseAndAdapter) {
  const AdapterFiles files = make_adapter("a", 1);
  start();
  InferenceRequest asked = request("x", 1);
  const std::string of_base = ask(asked).done->model_fingerprint;
  EXPECT_THAT(of_base, testing::MatchesRegex("fp_[0-9a-f]{16}"));
  EXPECT_EQ(ask(asked).done->model_fingerprint, of_base);
  asked.adapter = files;
  EXPECT_NE(ask(asked).done->model_fingerprint, of_base);
}

TEST_F(AnswersTest, PromptsBeyondTheContextAreRefusedWithTheFigures) {
  start();
  InferenceRequest asked = request("x", 1);
  asked.input = PromptIds{std::vector<std::int32_t>(2048, 5)};
  auto failure = ask(asked).failure;
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->status, 400);
  EXPECT_EQ(failure->code, "context_length_exceeded");
  EXPECT_EQ(failure->param, "prompt");
  EXPECT_EQ(failure->message,
            "This model's maximum context length is 2048 tokens. However, your prompt resulted in 2048 tokens. Please reduce "
            "the length of the prompt.");
  asked.input = PromptIds{std::vector<std::int32_t>(2000, 5)};
  asked.max_tokens = 100;
  failure = ask(asked).failure;
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->message,
            "This model's maximum context length is 2048 tokens. However, you requested 2100 tokens (2000 in the prompt, 100 in "
            "the completion). Please reduce the length of the prompt or completion.");
  asked.max_tokens.reset();
  const Reply reply = ask(asked);
  ASSERT_TRUE(reply.done);
  EXPECT_LE(reply.done->completion_tokens, 48);
}

TEST_F(AnswersTest, RequestsThatCannotBeAreRefusedByName) {
  start();
  const auto refused = [&](InferenceRequest asked) {
    const Reply reply = ask(asked);
    EXPECT_FALSE(reply.done);
    return reply.failure.value_or(Failure{});
  };
  InferenceRequest asked = request("x");
  asked.base = "no-such-base";
  EXPECT_EQ(refused(asked).status, 404);
  EXPECT_EQ(refused(asked).code, "model_not_found");
  asked = request("x");
  asked.input = PromptIds{{1, 280}};
  EXPECT_EQ(refused(asked).status, 400);
  Chat chat;
  chat.messages.push_back(base::json::object{{"role", "robot"}, {"content", "hi"}});
  asked.input = chat;
  EXPECT_EQ(refused(asked).param, "messages[0].role");
  Conversation garbage(service_->socket());
  garbage.send("{\"v\":1}\n");
  EXPECT_EQ(garbage.rest().failure->status, 400);
  Conversation endless(service_->socket());
  endless.send(std::string(kRequestBytes + 10, 'x'));
  EXPECT_EQ(endless.rest().failure->status, 413);
}

}  // namespace
}  // namespace finetuned::inference
