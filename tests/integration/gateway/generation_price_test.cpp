#include "tests/integration/gateway/generation_fixture.h"

namespace finetuned::tests {
namespace {

TEST_F(GenerationTest, AnAnswerCostsTheTokensOfItsUsage) {
  ScriptedWorker worker(base_.name, 1, answer);
  price("inference_output", "2345");
  const auto body = ask().json();
  const std::int64_t input = body.at("usage").at("prompt_tokens").as_int64(), output = body.at("usage").at("completion_tokens").as_int64();
  EXPECT_EQ(spent(), input * 1'000 + base::price_of(output, 2'345).value);
  const auto post = get("/v1/billing/transfers").json().at("data").at(0);
  EXPECT_EQ(post.at("kind"), "post");
  EXPECT_NE(text(post.at("reason")).find("11 input and 4 output tokens of " + base_.name + " for req"), std::string::npos) << post;
}

TEST_F(GenerationTest, AStreamCostsTheSame) {
  ScriptedWorker worker(base_.name, 1, answer);
  auto wire = streaming(gateway_->port());
  EXPECT_NE(wire->read_until("0\r\n\r\n"), "");
  EXPECT_EQ(spent(), 15'000);
}

TEST_F(GenerationTest, WhereAnswersAreFreeNothingMoves) {
  ScriptedWorker worker(base_.name, 1, answer);
  price("inference_input", "0");
  price("inference_output", "0");
  EXPECT_EQ(ask().status, 200);
  EXPECT_EQ(usage(1).size(), 1u);
  EXPECT_EQ(transfers(), std::vector<std::string>{"single"});
}

TEST_F(GenerationTest, WithoutCoverNoModelWorks) {
  ScriptedWorker worker(base_.name, 1, answer);
  const Tenant poor = make_tenant();
  const auto ask_as_poor = [&] { return send_as(poor.key, "POST", "/v1/chat/completions", chat(base_.name, R"(,"max_tokens":8)")); };
  const Answer refused = ask_as_poor();
  EXPECT_EQ(refused.status, 429) << refused.body;
  EXPECT_EQ(refused.code(), "insufficient_quota");
  EXPECT_EQ(refused.header("x-should-retry"), "false");
  EXPECT_EQ(refused.message(), "This request may cost $0.00052 and the project has $0.00 available: $0.00052 are missing."
                               " Ask your administrator for credit, or ask for fewer tokens (max_tokens, n).");
  give_credit(pool(), poor.project, 519'999);
  EXPECT_EQ(ask_as_poor().code(), "insufficient_quota");
  EXPECT_EQ(worker.asked(), 0);
  give_credit(pool(), poor.project, 1);
  EXPECT_EQ(ask_as_poor().status, 200);
}

TEST_F(GenerationTest, WhatARunningAnswerMayCostIsHeld) {
  std::atomic<bool> go_on{false};
  ScriptedWorker worker(base_.name, 1, [&](WorkerSide& side) {
    side.request();
    side.send(Begun{11});
    side.send(TextPiece{0, "a", {}, 2});
    eventually([&] { return go_on.load(); }, 10);
    side.send(ChoiceEnd{0, FinishReason::kStop, 1});
    side.send(Done{11, 3, "fp_0123456789abcdef"});
  });
  auto wire = streaming(gateway_->port());
  EXPECT_NE(wire->read_until(R"("content":"a")"), "");
  const auto balance = get("/v1/billing/balances").json().at("data").at(0);
  EXPECT_EQ(text(balance.at("held")), std::to_string(2 * 512 * 1'000)) << "its context, in and out";
  go_on = true;
  EXPECT_NE(wire->read_until("0\r\n\r\n"), "");
  EXPECT_EQ(spent(), 14'000);
}

}  // namespace
}  // namespace finetuned::tests
