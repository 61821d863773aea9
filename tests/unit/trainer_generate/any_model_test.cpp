#include "trainer/generate/any_model.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "tests/unit/trainer_training/tiny_base.h"

namespace finetuned::generate {
namespace {

const std::vector<std::int32_t> kPrompt{3, 14, 15, 9, 26};

class AnyModelTest : public testing::Test {
 protected:
  AnyModelTest() : device({}, 1) {
    training::write_tiny_base(directory / "base");
    config = formats::read_model_config(directory / "base");
    const formats::Weights weights = formats::Weights::open(directory / "base");
    base = std::make_unique<model::AnyBase>(device, config, model::stored_weights(weights));
  }

  /// A random adapter of this shape, written into `name` too.
  formats::Adapter make_adapter(const std::string& name, std::uint64_t seed, int rank, double alpha = 8) {
    formats::AdapterConfig shape;
    shape.rank = rank;
    shape.alpha = alpha;
    shape.target_modules = {"q_proj", "v_proj"};
    shape.base_model_name_or_path = "base";
    formats::Adapter adapter = formats::make_adapter(shape, config);
    std::uint64_t place = 0;
    for (formats::LoraPair& pair : adapter.pairs)
      for (std::vector<float>* values : {&pair.a, &pair.b})
        for (float& value : *values)
          value = static_cast<float>(kernels::random_uniform(kernels::random_key(seed), place++) - 0.5);
    formats::write_adapter(directory / name, adapter);
    return adapter;
  }

  std::vector<std::int32_t> alone(const std::string& adapter) {
    AnyModel model(device, {directory / "base", adapter.empty() ? "" : directory / adapter}, config, 32, 1);
    return model.generate(kPrompt, {}).ids;
  }

  TemporaryDirectory directory;
  tensor::AnyDevice device;
  formats::ModelConfig config;
  std::unique_ptr<model::AnyBase> base;
};

TEST_F(AnyModelTest, AdaptersAreExchangedOnOneBaseAndEachAnswersAsItDoesAlone) {
  const formats::Adapter a = make_adapter("a", 1, 4), b = make_adapter("b", 2, 4), wide = make_adapter("wide", 3, 6),
                         strong = make_adapter("strong", 1, 4, 64);
  ASSERT_NE(alone("a"), alone("b"));
  ASSERT_NE(alone("a"), alone("strong"));
  AnyModel model(device, *base, {.positions = 32, .sequences = 2}, nullptr);
  const std::vector<std::pair<const formats::Adapter*, std::string>> order{
      {&a, "a"}, {&b, "b"}, {nullptr, ""}, {nullptr, ""}, {&wide, "wide"}, {&a, "a"}, {&strong, "strong"}, {&a, "a"}};
  EXPECT_EQ(model.generate(kPrompt, {}).ids, alone(""));
  for (const auto& [adapter, name] : order) {
    model.exchange_adapter(adapter);
    EXPECT_EQ(model.generate(kPrompt, {}).ids, alone(name)) << "adapter '" << name << "'";
  }
}

TEST_F(AnyModelTest, ABatchOnItAnswersAsItDoesAlone) {
  const formats::Adapter a = make_adapter("a", 1, 4);
  AnyModel model(device, *base, {.positions = 32, .sequences = 2}, &a);
  AnyBatch batch(model);
  EXPECT_EQ(batch.sequences(), 2u);
  std::vector<std::vector<std::int32_t>> heard(3);
  const BatchListener listener{[&](std::uint64_t ticket, const Token& token) { heard[ticket].push_back(token.id); }, {}, {}};
  for (int i = 0; i < 3; ++i) batch.add(kPrompt, {});
  EXPECT_TRUE(batch.step(listener));
  EXPECT_EQ(batch.running(), 2u);
  EXPECT_EQ(batch.waiting(), 1u);
  EXPECT_TRUE(batch.cancel(1));
  while (batch.step(listener)) {
  }
  EXPECT_EQ(heard[0], alone("a"));
  EXPECT_EQ(heard[2], alone("a"));
}

TEST_F(AnyModelTest, MemoryThatIsShortCostsSequencesAndThenLengthWhereItMay) {
  AnyModel::Limits limits{.positions = 32, .sequences = 16};
  AnyModel whole(device, *base, limits, nullptr);
  EXPECT_EQ(whole.sequences(), 16);
  EXPECT_EQ(whole.positions(), 32);
  const auto plan = [&](std::int64_t positions, std::int64_t rows) {
    model::ModelSettings settings;
    settings.max_positions = positions;
    settings.max_rows = rows;
    settings.max_tokens = std::max<std::int64_t>(rows, positions);
    std::uint64_t bytes = model::KvCache<tensor::Cpu>::planned_bytes(config, rows, positions);
    for (const auto& line : model::plan_memory<tensor::Cpu>(config, settings, 1)) bytes += line.bytes;
    return bytes;
  };
  limits.memory_bytes = plan(32, 8);
  EXPECT_EQ(AnyModel(device, *base, limits, nullptr).sequences(), 8);
  limits.memory_bytes = plan(16, 4);
  limits.least_positions = 8;
  AnyModel shorter(device, *base, limits, nullptr);
  EXPECT_EQ(shorter.positions(), 16);
  EXPECT_EQ(shorter.sequences(), 4);
  limits.least_positions = 0;
  limits.memory_bytes = base->bytes();
  EXPECT_THROW(AnyModel(device, *base, limits, nullptr), base::UsageError);
}

}  // namespace
}  // namespace finetuned::generate
