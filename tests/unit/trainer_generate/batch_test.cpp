#include "trainer/generate/batch.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "base/errors.h"
#include "tests/unit/trainer_model/tiny_models.h"
#include "trainer/generate/generate.h"

namespace finetuned::generate {
namespace {

using Model = model::Transformer<tensor::Cpu>;

constexpr std::uint64_t kAnyBytes = 1u << 30;

const std::vector<std::vector<std::int32_t>> kPrompts{
    {3, 14, 15, 9, 26}, {1}, {5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5}, {7, 30}, {36, 2, 8}, {11, 12, 13, 14, 15, 16, 17}};

model::ModelSettings settings(std::int64_t rows) {
  auto settings = model::lora_settings();
  settings.mode = model::Mode::kAdapter;
  settings.max_tokens = 16;
  settings.max_rows = rows;
  return settings;
}

Model make_model(tensor::Cpu& cpu, std::int64_t rows) {
  return {cpu, model::tiny_config(formats::Architecture::kLlama), model::lively_weights(), settings(rows)};
}

Request request_of(std::size_t i) {
  Request request;
  request.max_tokens = static_cast<std::int64_t>(10 + 4 * i);
  request.sampling.temperature = i % 2 == 0 ? 1 : 0;
  request.sampling.seed = i;
  return request;
}

/// What a listener heard, by ticket.
struct Heard {
  std::map<std::uint64_t, std::vector<std::int32_t>> ids;
  std::map<std::uint64_t, Finish> ends;
  std::vector<std::uint64_t> broken;

  BatchListener listener() {
    return {[this](std::uint64_t ticket, const Token& token) { ids[ticket].push_back(token.id); },
            [this](std::uint64_t ticket, Finish finish) { ends[ticket] = finish; },
            [this](std::uint64_t ticket) { broken.push_back(ticket); }};
  }
};

class BatchTest : public testing::Test {
 protected:
  BatchTest() {
    Model alone = make_model(cpu, 1);
    for (std::size_t i = 0; i < kPrompts.size(); ++i) expected.push_back(generate(alone, kPrompts[i], request_of(i)).ids);
  }
  tensor::Cpu cpu{2};
  std::vector<std::vector<std::int32_t>> expected;
};

TEST_F(BatchTest, PromptsThatJoinBetweenStepsGetWhatEachGetsAlone) {
  for (const std::size_t every : {1, 3, 11}) {
    Model model = make_model(cpu, 3);
    Batch<tensor::Cpu> batch(model, 3, model.max_positions(), kAnyBytes);
    Heard heard;
    const BatchListener listener = heard.listener();
    std::size_t joined = 0;
    for (std::size_t step = 0; step < 1000 && heard.ends.size() < kPrompts.size(); ++step) {
      if (step % every == 0 && joined < kPrompts.size()) {
        EXPECT_EQ(batch.add(kPrompts[joined], request_of(joined)), joined);
        ++joined;
      }
      batch.step(listener);
    }
    EXPECT_EQ(heard.ends.size(), kPrompts.size());
    for (std::size_t i = 0; i < kPrompts.size(); ++i) EXPECT_EQ(heard.ids[i], expected[i]) << i << " every " << every;
    EXPECT_FALSE(batch.step(listener));
  }
}

TEST_F(BatchTest, ACancelledPromptIsSilentAndTheOthersGetTheirBits) {
  Model model = make_model(cpu, 2);
  Batch<tensor::Cpu> batch(model, 2, model.max_positions(), kAnyBytes);
  Heard heard;
  const BatchListener listener = heard.listener();
  for (std::size_t i = 0; i < kPrompts.size(); ++i) batch.add(kPrompts[i], request_of(i));
  for (int step = 0; step < 4; ++step) batch.step(listener);
  EXPECT_EQ(batch.running(), 2u);
  EXPECT_TRUE(batch.cancel(0));  // it runs
  EXPECT_EQ(batch.running(), 1u);
  EXPECT_TRUE(batch.cancel(4));  // it waits
  EXPECT_FALSE(batch.cancel(4));
  EXPECT_FALSE(batch.cancel(99));
  const std::size_t before = heard.ids[0].size();
  EXPECT_GT(before, 0u);
  while (batch.step(listener)) {
  }
  EXPECT_EQ(heard.ids[0].size(), before);
  EXPECT_EQ(heard.ids.count(4), 0u);
  EXPECT_EQ(heard.ends.size(), kPrompts.size() - 2);
  for (const std::size_t i : {1, 2, 3, 5}) EXPECT_EQ(heard.ids[i], expected[i]) << i;
}

TEST_F(BatchTest, OneThatDoesNotFitTheCacheBesideTheOthersWaits) {
  Model model = make_model(cpu, 4);
  Batch<tensor::Cpu> batch(model, 4, model.max_positions(), 1);  // room for one alone
  Heard heard;
  const BatchListener listener = heard.listener();
  for (std::size_t i = 0; i < kPrompts.size(); ++i) batch.add(kPrompts[i], request_of(i));
  while (batch.step(listener)) EXPECT_LE(batch.running(), 1u);
  for (std::size_t i = 0; i < kPrompts.size(); ++i) EXPECT_EQ(heard.ids[i], expected[i]) << i;
}

TEST_F(BatchTest, PromptsThatCannotBeAreRefusedAndTheOthersRunOn) {
  Model model = make_model(cpu, 2);
  Batch<tensor::Cpu> batch(model, 2, model.max_positions(), kAnyBytes);
  Heard heard;
  batch.add(kPrompts[0], request_of(0));
  EXPECT_THROW(batch.add(std::vector<std::int32_t>{}, {}), base::UsageError);
  EXPECT_THROW(batch.add(std::vector<std::int32_t>{37}, {}), base::UsageError);
  EXPECT_THROW(batch.add(std::vector<std::int32_t>(64, 1), {}), base::UsageError);
  const BatchListener listener = heard.listener();
  while (batch.step(listener)) {
  }
  EXPECT_EQ(heard.ids[0], expected[0]);
}

TEST_F(BatchTest, LogitsThatAreNotNumbersEndTheirPromptAsBroken) {
  const auto damaged = [](const std::string&, std::span<float> out) { std::fill(out.begin(), out.end(), NAN); };
  Model model(cpu, model::tiny_config(formats::Architecture::kLlama), damaged, settings(2));
  Batch<tensor::Cpu> batch(model, 2, model.max_positions(), kAnyBytes);
  Heard heard;
  batch.add(kPrompts[0], {});
  batch.add(kPrompts[1], {});
  const BatchListener listener = heard.listener();
  while (batch.step(listener)) {
  }
  EXPECT_THAT(heard.broken, testing::UnorderedElementsAre(0, 1));
  EXPECT_TRUE(heard.ends.empty());
}

TEST_F(BatchTest, TokensComeWithTheLogProbabilitiesOfTheModelsOwnLogits) {
  Model model = make_model(cpu, 1);
  Batch<tensor::Cpu> batch(model, 1, model.max_positions(), kAnyBytes);
  Request request = request_of(0);
  request.sampling.temperature = 0.7;
  request.sampling.top_p = 0.9;
  request.log_probabilities = 3;
  std::vector<Token> tokens;
  batch.add(kPrompts[0], request);
  const BatchListener listener{[&](std::uint64_t, const Token& token) { tokens.push_back(token); }, {}, {}};
  while (batch.step(listener)) {
  }
  ASSERT_EQ(tokens.size(), 10u);
  std::vector<std::int32_t> ids = kPrompts[0];
  for (const Token& token : tokens) {
    model::KvCache<tensor::Cpu> cache(cpu, model.config(), 1, 64);
    std::vector<float> logits(37);
    const model::Continuation all{0, ids};
    model.extend({&all, 1}, cache, logits);
    double total = 0;
    for (const float logit : logits) total += std::exp(static_cast<double>(logit));
    const auto direct = [&](std::int32_t id) { return static_cast<double>(logits[static_cast<std::size_t>(id)]) - std::log(total); };
    EXPECT_NEAR(token.log_probabilities.chosen, direct(token.id), 1e-12);
    ASSERT_EQ(token.log_probabilities.top.size(), 3u);
    std::vector<float> sorted = logits;
    std::sort(sorted.rbegin(), sorted.rend());
    for (std::size_t i = 0; i < 3; ++i) {
      const LogProbability& one = token.log_probabilities.top[i];
      EXPECT_EQ(logits[static_cast<std::size_t>(one.id)], sorted[i]);
      EXPECT_NEAR(one.value, direct(one.id), 1e-12);
    }
    ids.push_back(token.id);
  }
}

TEST(LogProbabilities, EqualsStandByTheirIdsAndNoMoreComeThanThereAre) {
  const std::vector<float> logits{1, 3, 3, 3, 2};
  const auto two = log_probabilities<float>(logits, 4, 2);
  ASSERT_EQ(two.top.size(), 2u);
  EXPECT_EQ(two.top[0].id, 1);
  EXPECT_EQ(two.top[1].id, 2);
  EXPECT_LT(two.chosen, two.top[1].value);
  EXPECT_EQ(log_probabilities<float>(logits, 0, 9).top.size(), 5u);
  EXPECT_TRUE(log_probabilities<float>(logits, 0, 0).top.empty());
  double sum = 0;
  for (const LogProbability& one : log_probabilities<float>(logits, 0, 9).top) sum += std::exp(one.value);
  EXPECT_NEAR(sum, 1, 1e-12);
}

}  // namespace
}  // namespace finetuned::generate
