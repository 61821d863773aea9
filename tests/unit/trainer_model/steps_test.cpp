#include <cstring>
#include <gtest/gtest.h>
#include <map>

#include "base/errors.h"
#include "tests/unit/trainer_model/tiny_models.h"
#include "trainer/kernels/attention.h"

namespace finetuned::model {
namespace {

using Model = Transformer<tensor::Cpu>;

const formats::ModelConfig& config() {
  static const auto tiny = tiny_config(formats::Architecture::kLlama);
  return tiny;
}

/// Every trained value (or gradient), end to end.
std::vector<float> flat(const Model& model, bool gradients) {
  std::vector<float> all;
  for (const auto& one : model.trainables()) {
    const auto& from = gradients ? one.gradient : one.value;
    all.insert(all.end(), from.begin(), from.end());
  }
  return all;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0, greatest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max<double>(worst, std::abs(a[i] - b[i]));
    greatest = std::max<double>(greatest, std::abs(b[i]));
  }
  return worst / greatest;
}

std::vector<float> after_steps(int threads, Mode mode, double dropout, bool recompute = false) {
  tensor::Cpu cpu(threads);
  auto settings = lora_settings(dropout);
  settings.recompute = recompute;
  settings.mode = mode;
  settings.max_tokens = 256;
  Model model(cpu, config(), lively_weights(), settings);
  const PackedBatch batch = pack(random_rows({60, 3, 61, 50, 49}, 37));
  for (int step = 1; step <= 3; ++step) {
    model.zero_gradients();
    model.accumulate_gradients(batch, 1.0 / static_cast<double>(batch.supervised()), step);
    kernels::AdamW adamw;
    adamw.learning_rate = 0.01;
    adamw.weight_decay = 0.1;
    model.adamw_step(adamw, step, std::min(1.0, 1 / model.gradient_norm()));
  }
  return flat(model, false);
}

TEST(Steps, GiveTheSameBitsForAnyNumberOfThreads) {
  for (const Mode mode : {Mode::kLora, Mode::kFull}) {
    const auto one = after_steps(1, mode, 0.1);
    EXPECT_TRUE(same_bits(one, after_steps(2, mode, 0.1)));
    EXPECT_TRUE(same_bits(one, after_steps(5, mode, 0.1)));
  }
}

TEST(Steps, GiveTheSameBitsWhereActivationsAreWorkedOutAgain) {
  for (const Mode mode : {Mode::kLora, Mode::kFull})
    EXPECT_TRUE(same_bits(after_steps(2, mode, 0.1), after_steps(2, mode, 0.1, true)));
}

/// The lowest adapter in the last layer alone, too: nothing below it is asked for.
TEST(Steps, GiveAdaptersOnSomeModulesWhatAllOfThemGive) {
  tensor::Cpu cpu(2);
  const PackedBatch batch = pack(random_rows({20, 33}, 37));
  const auto gradients = [&](const std::vector<std::string>& modules) {
    auto settings = lora_settings();
    settings.lora.target_modules = modules;
    Model model(cpu, config(), lively_weights(), settings);
    model.accumulate_gradients(batch, 1, 1);
    std::map<std::string, std::vector<float>> named;
    for (const auto& one : model.trainables())
      named[one.name].assign(one.gradient.begin(), one.gradient.end());
    return named;
  };
  const auto all = gradients(lora_settings().lora.target_modules);
  for (const auto module : formats::kLinearModules)
    for (const auto& [name, gradient] : gradients({std::string(module)}))
      EXPECT_TRUE(same_bits(gradient, all.at(name))) << name;
}

TEST(Steps, LowerTheLoss) {
  tensor::Cpu cpu(2);
  Model model(cpu, config(), lively_weights(), lora_settings());
  const PackedBatch batch = pack(random_rows({20, 20}, 37));
  const double before = model.evaluate(batch).loss;
  for (int step = 1; step <= 30; ++step) {
    model.zero_gradients();
    model.accumulate_gradients(batch, 1.0 / static_cast<double>(batch.supervised()), step);
    kernels::AdamW adamw;
    adamw.learning_rate = 0.02;
    model.adamw_step(adamw, step, 1);
  }
  EXPECT_LT(model.evaluate(batch).loss, 0.5 * before);
}

/// A row with one supervised position has one loss: whatever stands beside the row, its bits are the same.
TEST(Steps, GiveARowTheSameBitsAloneAndPacked) {
  for (const double dropout : {0.0, 0.3}) {
    tensor::Cpu cpu(2);
    auto settings = lora_settings(dropout);
    settings.max_tokens = 256;
    Model model(cpu, config(), lively_weights(), settings);
    stir_adapter(model);
    auto rows = random_rows({50, 13, 61, 7}, 37);
    for (auto& row : rows)
      std::fill(row.labels.begin(), row.labels.end(), text::kIgnoreLabel);
    rows[2].labels.back() = rows[2].ids.back();
    PackedBatch alone;
    alone.append(rows[2], 2);
    const double loss = model.accumulate_gradients(alone, 1, 4).loss;
    EXPECT_EQ(loss, model.accumulate_gradients(pack(rows), 1, 4).loss);
    PackedBatch turned;
    for (const std::size_t i : {3, 2, 1, 0})
      turned.append(rows[i], i);
    EXPECT_EQ(loss, model.accumulate_gradients(turned, 1, 4).loss);
    EXPECT_EQ(model.evaluate(alone).loss, model.evaluate(pack(rows)).loss);
  }
}

TEST(Steps, AddUpOverMicroBatches) {
  tensor::Cpu cpu(2);
  Model model(cpu, config(), lively_weights(), lora_settings(0.2));
  stir_adapter(model);
  const auto rows = random_rows({21, 13, 17, 7}, 37);
  const PackedBatch whole = pack(rows);
  const double scale = 1.0 / static_cast<double>(whole.supervised());
  model.zero_gradients();
  const auto sums = model.accumulate_gradients(whole, scale, 2);
  const auto expected = flat(model, true);
  const double norm = model.gradient_norm();
  model.zero_gradients();
  kernels::LossSums parts;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    PackedBatch part;
    part.append(rows[i], i);
    parts += model.accumulate_gradients(part, scale, 2);
  }
  EXPECT_NEAR(parts.loss, sums.loss, 1e-12 * sums.loss);
  EXPECT_EQ(parts.supervised, sums.supervised);
  EXPECT_EQ(parts.correct, sums.correct);
  EXPECT_LT(distance(flat(model, true), expected), 2e-6);
  EXPECT_NEAR(model.gradient_norm(), norm, 1e-5 * norm);
}

TEST(Steps, LeaveGradientsAloneInEvaluation) {
  tensor::Cpu cpu(2);
  Model model(cpu, config(), lively_weights(), lora_settings());
  const PackedBatch batch = pack(random_rows({21, 13}, 37));
  model.accumulate_gradients(batch, 1, 1);
  const auto before = flat(model, true);
  model.evaluate(batch);
  EXPECT_TRUE(same_bits(before, flat(model, true)));
}

TEST(Steps, PassOverABatchWithoutSupervisedPositions) {
  tensor::Cpu cpu(2);
  Model model(cpu, config(), lively_weights(), lora_settings());
  auto rows = random_rows({9}, 37);
  std::fill(rows[0].labels.begin(), rows[0].labels.end(), text::kIgnoreLabel);
  const auto sums = model.accumulate_gradients(pack(rows), 1, 1);
  EXPECT_EQ(sums.supervised, 0);
  EXPECT_EQ(model.gradient_norm(), 0);
}

TEST(Adapter, StartsAtTheBaseAndTravelsWhole) {
  tensor::Cpu cpu(2);
  const PackedBatch batch = pack(random_rows({21, 13}, 37));
  ModelSettings plain = lora_settings();
  plain.mode = Mode::kInference;
  Model base(cpu, config(), lively_weights(), plain);
  Model model(cpu, config(), lively_weights(), lora_settings());
  EXPECT_EQ(model.evaluate(batch).loss, base.evaluate(batch).loss);
  const auto drawn = model.trainables()[0];
  EXPECT_EQ(drawn.name, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
  EXPECT_EQ(drawn.shape, (std::vector<std::int64_t>{3, 24}));
  const float bound = 1 / std::sqrt(24.0f);
  for (const float value : drawn.value)
    EXPECT_LE(std::abs(value), bound);
  stir_adapter(model);
  const double loss = model.evaluate(batch).loss;
  EXPECT_NE(loss, base.evaluate(batch).loss);

  auto settings = lora_settings();
  settings.mode = Mode::kAdapter;
  Model reader(cpu, config(), lively_weights(), settings);
  reader.load_adapter(model.adapter());
  EXPECT_EQ(reader.evaluate(batch).loss, loss);
  settings.lora.target_modules = {"q_proj"};
  Model other(cpu, config(), lively_weights(), settings);
  EXPECT_THROW(other.load_adapter(model.adapter()), base::UsageError);
}

TEST(Settings, ScaleByRankOrItsRoot) {
  LoraSettings lora;
  lora.rank = 16;
  lora.alpha = 8;
  EXPECT_EQ(lora.scale(), 0.5);
  lora.use_rslora = true;
  EXPECT_EQ(lora.scale(), 2);
}

TEST(Settings, ArePlannedAsTheyAreUsed) {
  tensor::Cpu cpu(2);
  for (const Mode mode : {Mode::kInference, Mode::kAdapter, Mode::kLora, Mode::kFull}) {
    auto settings = lora_settings(0.1);
    settings.mode = mode;
    settings.recompute = mode == Mode::kFull;
    const Model model(cpu, config(), lively_weights(), settings);
    const auto planned = plan_memory<tensor::Cpu>(config(), settings, 2), used = model.memory_lines();
    ASSERT_EQ(planned.size(), used.size());
    for (std::size_t i = 0; i < used.size(); ++i) {
      EXPECT_EQ(planned[i].name, used[i].name);
      EXPECT_EQ(planned[i].bytes, used[i].bytes);
    }
  }
}

TEST(Settings, FindTheGreatestBudgetThatFits) {
  auto settings = lora_settings();
  settings.max_tokens = 200;
  std::uint64_t bytes = 0;
  for (const auto& line : plan_memory<tensor::Cpu>(config(), settings))
    bytes += line.bytes;
  EXPECT_EQ(fit_tokens<tensor::Cpu>(config(), settings, bytes, 16, 4096), 200);
  EXPECT_EQ(fit_tokens<tensor::Cpu>(config(), settings, 1000, 16, 4096), 0);
  const auto more_threads = [&] {
    std::uint64_t sum = 0;
    for (const auto& line : plan_memory<tensor::Cpu>(config(), settings, 300))
      sum += line.bytes;
    return sum;
  };
  EXPECT_EQ(fit_tokens<tensor::Cpu>(config(), settings, more_threads(), 16, 4096, 300), 200);
}

TEST(Settings, OutOfRangeAreRefused) {
  const auto refused = [](auto change) {
    auto settings = lora_settings();
    change(settings);
    EXPECT_THROW(plan_memory<tensor::Cpu>(config(), settings), base::UsageError);
  };
  refused([](ModelSettings& s) { s.max_tokens = 0; });
  refused([](ModelSettings& s) { s.max_rows = 65; });
  refused([](ModelSettings& s) { s.lora.rank = 0; });
  refused([](ModelSettings& s) { s.lora.alpha = 0; });
  refused([](ModelSettings& s) { s.lora.dropout = 1; });
  refused([](ModelSettings& s) { s.lora.target_modules.clear(); });
  refused([](ModelSettings& s) { s.lora.target_modules = {"lm_head"}; });
}

/// They ran into an abort of the kernels.
TEST(Settings, ModelsTooWideForTheKernelsAreRefused) {
  auto wide = config();
  wide.hidden_size = kernels::kMostHeadHidden + 48;
  EXPECT_THROW(plan_memory<tensor::Cpu>(wide, lora_settings()), base::UsageError);
  ModelSettings reading;
  reading.max_tokens = 16;
  reading.max_rows = 1;
  EXPECT_FALSE(plan_memory<tensor::Cpu>(wide, reading).empty());
  wide.head_dim = kernels::kMostHeadDim + 2;
  EXPECT_THROW(plan_memory<tensor::Cpu>(wide, reading), base::UsageError);
}

TEST(Weights, OfAFreshModelDependOnSeedAndNameAlone) {
  const auto source = fresh_weights(config(), 4);
  std::vector<float> a(1000), b(1000), c(1000), norm(10);
  source("model.embed_tokens.weight", a);
  source("model.layers.0.mlp.up_proj.weight", b);
  fresh_weights(config(), 4)("model.embed_tokens.weight", c);
  source("model.norm.weight", norm);
  EXPECT_EQ(a, c);
  EXPECT_NE(a, b);
  EXPECT_EQ(norm, std::vector<float>(10, 1.0f));
  double squares = 0;
  for (const float value : a)
    squares += static_cast<double>(value) * value;
  EXPECT_NEAR(std::sqrt(squares / 1000), 0.02, 0.002);
}

}  // namespace
}  // namespace finetuned::model
