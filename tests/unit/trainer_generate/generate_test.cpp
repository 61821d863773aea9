#include "trainer/generate/generate.h"

#include <gtest/gtest.h>
#include <map>

#include "base/errors.h"
#include "tests/unit/trainer_model/tiny_models.h"

namespace finetuned::generate {
namespace {

model::ModelSettings tuned(std::int64_t tokens) {
  auto settings = model::lora_settings();
  settings.mode = model::Mode::kAdapter;
  settings.max_tokens = tokens;
  settings.max_rows = 1;
  return settings;
}

const std::vector<std::int32_t> kPrompt{3, 14, 15, 9, 26};

class EachFamily : public testing::TestWithParam<model::TinyModel> {};

TEST_P(EachFamily, SaysTheSameWithAndWithoutACacheInPiecesOfAnySize) {
  tensor::Cpu cpu(2);
  Request request;
  request.max_tokens = 40;
  request.sampling.temperature = 1;
  request.sampling.seed = 5;
  std::vector<std::int32_t> first;
  for (const std::int64_t piece : {1, 3, 64}) {
    for (const bool cached : {true, false}) {
      model::Transformer<tensor::Cpu> model(cpu, GetParam().config, model::lively_weights(), tuned(piece));
      request.use_cache = cached;
      const auto ids = generate(model, kPrompt, request).ids;
      ASSERT_EQ(ids.size(), 40u);
      if (first.empty()) first = ids;
      EXPECT_EQ(ids, first) << "pieces of " << piece << (cached ? " with a cache" : " without a cache");
    }
  }
}

TEST_P(EachFamily, AnswersWithTheTrainingForwardsOwnLogits) {
  tensor::Reference exact;
  auto settings = model::lora_settings();
  model::Transformer<tensor::Reference> trainer(exact, GetParam().config, model::lively_weights(), settings);
  text::TokenRow row{kPrompt, std::vector<std::int32_t>(kPrompt.size(), text::kIgnoreLabel)};
  model::KvCache<tensor::Reference> cache(tensor::Reference(), GetParam().config, 1, 16);
  std::vector<double> logits(37);
  for (const auto piece : {std::span(kPrompt).first(3), std::span(kPrompt).subspan(3, 1)}) {
    const model::Continuation next{0, piece};
    trainer.extend({&next, 1}, cache, logits);
  }
  row.labels.back() = row.ids.back();
  double total = 0;
  for (const double logit : logits)
    total += std::exp(logit);
  const double expected = std::log(total) - logits[static_cast<std::size_t>(kPrompt.back())];
  EXPECT_NEAR(trainer.evaluate(model::pack({row})).loss, expected, 1e-12);
}

TEST_P(EachFamily, GivesPromptsTogetherWhatEachGetsAlone) {
  tensor::Cpu cpu(2);
  const std::vector<std::vector<std::int32_t>> prompts{
      {3, 14, 15, 9, 26},          {1}, {5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5}, {7, 30}, {36, 2, 8},
      {11, 12, 13, 14, 15, 16, 17}};
  std::vector<Prompt> requests;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    Prompt one{prompts[i], {}};
    one.request.max_tokens = static_cast<std::int64_t>(10 + 5 * i);
    one.request.sampling.temperature = i % 2 == 0 ? 1 : 0;
    one.request.sampling.seed = i;
    requests.push_back(one);
  }
  requests[3].request.max_tokens = 0;
  auto settings = tuned(16);
  model::Transformer<tensor::Cpu> alone(cpu, GetParam().config, model::lively_weights(), settings);
  std::vector<Answer> expected;
  for (const Prompt& one : requests)
    expected.push_back(generate(alone, one.ids, one.request));
  requests[4].request.stop_ids = {expected[4].ids[7]};
  expected[4] = generate(alone, requests[4].ids, requests[4].request);
  for (const std::int64_t rows : {1, 2, 4, 9}) {
    settings.max_rows = rows;
    model::Transformer<tensor::Cpu> model(cpu, GetParam().config, model::lively_weights(), settings);
    std::vector<std::vector<std::int32_t>> heard(prompts.size());
    std::vector<std::vector<std::int32_t>> ended(prompts.size());
    std::size_t endings = 0;
    Listener listener;
    listener.on_token = [&](std::size_t prompt, std::int32_t id) { heard[prompt].push_back(id); };
    listener.on_answer = [&](std::size_t prompt, const Answer& answer) {
      ended[prompt] = answer.ids;
      ++endings;
    };
    const auto answers = generate_together(model, requests, listener);
    EXPECT_EQ(endings, prompts.size());
    ASSERT_EQ(answers.size(), prompts.size());
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(answers[i].ids, expected[i].ids) << "prompt " << i << " among " << rows;
      EXPECT_EQ(answers[i].finish, expected[i].finish);
      EXPECT_EQ(heard[i], expected[i].ids);
      EXPECT_EQ(ended[i], expected[i].ids);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, EachFamily, testing::ValuesIn(model::tiny_models()),
                         [](const auto& one) { return one.param.name; });

TEST(Generate, EndsAtAStopIdWithoutSayingIt) {
  tensor::Cpu cpu(1);
  const auto config = model::tiny_config(formats::Architecture::kLlama);
  model::Transformer<tensor::Cpu> model(cpu, config, model::lively_weights(), tuned(8));
  Request request;
  request.max_tokens = 10;
  const auto whole = generate(model, kPrompt, request);
  ASSERT_EQ(whole.ids.size(), 10u);
  EXPECT_EQ(whole.finish, Finish::kLength);
  request.stop_ids = {whole.ids[4]};
  std::vector<std::int32_t> heard;
  const auto stopped = generate(model, kPrompt, request, [&](std::int32_t id) { heard.push_back(id); });
  EXPECT_EQ(stopped.finish, Finish::kStop);
  const auto first = std::find(whole.ids.begin(), whole.ids.end(), whole.ids[4]);
  EXPECT_EQ(stopped.ids, std::vector<std::int32_t>(whole.ids.begin(), first));
  EXPECT_EQ(heard, stopped.ids);
}

TEST(Generate, KeepsToTheContext) {
  tensor::Cpu cpu(1);
  const auto config = model::tiny_config(formats::Architecture::kLlama);
  model::Transformer<tensor::Cpu> model(cpu, config, model::lively_weights(), tuned(8));
  Request request;
  request.max_tokens = 1000;
  const auto answer = generate(model, kPrompt, request);
  EXPECT_EQ(answer.ids.size(), 64 - kPrompt.size());
  EXPECT_EQ(answer.finish, Finish::kLength);
  EXPECT_THROW(generate(model, std::vector<std::int32_t>(64, 1), request), base::UsageError);
  EXPECT_THROW(generate(model, std::vector<std::int32_t>{}, request), base::UsageError);
  EXPECT_THROW(generate(model, std::vector<std::int32_t>{37}, request), base::UsageError);
}

/// The first id was taken for the greatest, and sorting by values that do not compare is undefined.
TEST(Generate, RefusesLogitsThatAreNotNumbers) {
  tensor::Cpu cpu(1);
  const auto config = model::tiny_config(formats::Architecture::kLlama);
  const auto damaged = [](const std::string&, std::span<float> out) {
    std::fill(out.begin(), out.end(), NAN);
  };
  model::Transformer<tensor::Cpu> model(cpu, config, damaged, tuned(8));
  for (const double temperature : {0.0, 1.0}) {
    Request request;
    request.sampling.temperature = temperature;
    request.sampling.top_p = 0.5;
    EXPECT_THROW(generate(model, kPrompt, request), base::UsageError);
  }
}

TEST(Sampling, FollowsTheProbabilitiesAndTopP) {
  const std::vector<float> logits{std::log(0.1f), std::log(0.6f), std::log(0.3f)};
  std::vector<std::int32_t> order;
  const auto shares = [&](Sampling sampling) {
    std::map<std::int32_t, int> counts;
    for (std::uint64_t place = 0; place < 20000; ++place)
      ++counts[choose_token<float>(sampling, place, logits, order)];
    return counts;
  };
  auto all = shares({1, 1, 9});
  EXPECT_NEAR(all[0], 2000, 200);
  EXPECT_NEAR(all[1], 12000, 300);
  EXPECT_NEAR(all[2], 6000, 300);
  auto top = shares({1, 0.85, 9});
  EXPECT_EQ(top.count(0), 0u);
  EXPECT_NEAR(top[1], 13333, 300);
  EXPECT_EQ(shares({0, 1, 9})[1], 20000);
  EXPECT_GT(shares({0.5, 1, 9})[1], all[1]);
  EXPECT_EQ(shares({1, 1, 9}), all);
  EXPECT_THROW(check_sampling({-1, 1, 0}), base::UsageError);
  EXPECT_THROW(check_sampling({1, 0, 0}), base::UsageError);
}

}  // namespace
}  // namespace finetuned::generate
