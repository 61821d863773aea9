#include <algorithm>
#include <gtest/gtest.h>

#include "tests/unit/trainer_model/tiny_models.h"

namespace finetuned::model {
namespace {

class Gradients : public testing::TestWithParam<TinyModel> {};

/// The mean loss, under the dropout of step 1 where there is any.
double loss_of(Transformer<tensor::Reference>& model, const PackedBatch& batch) {
  const bool drops = model.settings().lora.dropout > 0;
  const auto sums = drops ? model.accumulate_gradients(batch, 0, 1) : model.evaluate(batch);
  return sums.loss / static_cast<double>(sums.supervised);
}

/// Central differences at two widths, combined so that the error is of the fourth order in the width.
double difference(Transformer<tensor::Reference>& model, const PackedBatch& batch, double& value) {
  const double start = value;
  const auto slope = [&](double width) {
    value = start + width;
    const double above = loss_of(model, batch);
    value = start - width;
    const double below = loss_of(model, batch);
    value = start;
    return (above - below) / (2 * width);
  };
  const double width = 1e-3;
  return (4 * slope(width / 2) - slope(width)) / 3;
}

void expect_differences(Transformer<tensor::Reference>& model, const PackedBatch& batch,
                        std::size_t samples) {
  model.zero_gradients();
  model.accumulate_gradients(batch, 1.0 / static_cast<double>(batch.supervised()), 1);
  for (const auto& trainable : model.trainables()) {
    double greatest = 0, worst = 0;
    for (const double gradient : trainable.gradient)
      greatest = std::max(greatest, std::abs(gradient));
    ASSERT_GT(greatest, 0) << trainable.name;
    const std::size_t stride = std::max<std::size_t>(1, trainable.value.size() / samples);
    for (std::size_t i = 0; i < trainable.value.size(); i += stride)
      worst = std::max(worst, std::abs(difference(model, batch, trainable.value[i]) - trainable.gradient[i]));
    EXPECT_LE(worst, 1e-5 * greatest) << trainable.name;
  }
}

TEST_P(Gradients, OfEveryAdapterTensorAreFiniteDifferences) {
  tensor::Reference device;
  Transformer<tensor::Reference> model(device, GetParam().config, lively_weights(), lora_settings());
  stir_adapter(model);
  expect_differences(model, pack(random_rows({7, 1, 12}, 37)), 12);
}

TEST_P(Gradients, OfEveryAdapterTensorAreFiniteDifferencesUnderDropout) {
  tensor::Reference device;
  auto settings = lora_settings(0.3);
  settings.lora.use_rslora = true;
  Transformer<tensor::Reference> model(device, GetParam().config, lively_weights(), settings);
  stir_adapter(model);
  expect_differences(model, pack(random_rows({7, 1, 12}, 37)), 6);
}

TEST_P(Gradients, OfEveryWeightAreFiniteDifferences) {
  tensor::Reference device;
  auto settings = lora_settings();
  settings.mode = Mode::kFull;
  Transformer<tensor::Reference> model(device, GetParam().config, lively_weights(), settings);
  expect_differences(model, pack(random_rows({7, 1, 12}, 37)), 12);
}

template <class Device>
Transformer<Device> trained_once(Device& device, const formats::ModelConfig& config,
                                 const ModelSettings& settings, const PackedBatch& batch) {
  Transformer<Device> model(device, config, lively_weights(), settings);
  if (settings.mode == Mode::kLora) stir_adapter(model);
  model.zero_gradients();
  model.accumulate_gradients(batch, 1.0 / static_cast<double>(batch.supervised()), 5);
  return model;
}

void expect_equal_on_both_devices(const formats::ModelConfig& config, const ModelSettings& settings) {
  const PackedBatch batch = pack(random_rows({17, 2, 30, 5}, 37));
  tensor::Reference exact;
  const auto reference = trained_once(exact, config, settings, batch);
  for (const auto isa : {tensor::Isa::kBaseline, tensor::Isa::kAvx2, tensor::Isa::kAvx512}) {
    tensor::Cpu cpu(2, isa);
    const auto model = trained_once(cpu, config, settings, batch);
    for (std::size_t t = 0; t < model.trainables().size(); ++t) {
      const auto& ours = model.trainables()[t];
      const auto& theirs = reference.trainables()[t];
      double greatest = 0, worst = 0;
      for (std::size_t i = 0; i < ours.gradient.size(); ++i) {
        greatest = std::max(greatest, std::abs(theirs.gradient[i]));
        worst = std::max(worst, std::abs(ours.gradient[i] - theirs.gradient[i]));
      }
      EXPECT_LE(worst, 1e-5 * greatest) << ours.name << " on " << tensor::isa_name(cpu.isa());
    }
  }
}

TEST_P(Gradients, InFloatAreThoseInDouble) {
  expect_equal_on_both_devices(GetParam().config, lora_settings());
}

TEST_P(Gradients, InFloatAreThoseInDoubleWithDropout) {
  expect_equal_on_both_devices(GetParam().config, lora_settings(0.25));
}

TEST_P(Gradients, InFloatAreThoseInDoubleForEveryWeight) {
  auto settings = lora_settings();
  settings.mode = Mode::kFull;
  expect_equal_on_both_devices(GetParam().config, settings);
}

INSTANTIATE_TEST_SUITE_P(Families, Gradients, testing::ValuesIn(tiny_models()),
                         [](const auto& one) { return one.param.name; });

/// With adapters on some modules only, the backward pass ends early; what is left must not change.
TEST(GradientsOfSubsets, AreThoseOfTheWholeAdapter) {
  const auto config = tiny_config(formats::Architecture::kLlama);
  const PackedBatch batch = pack(random_rows({9, 14}, 37));
  for (const auto module : formats::kLinearModules) {
    tensor::Reference device;
    auto settings = lora_settings();
    settings.lora.target_modules = {std::string(module)};
    Transformer<tensor::Reference> model(device, config, lively_weights(), settings);
    stir_adapter(model);
    expect_differences(model, batch, 4);
  }
}

}  // namespace
}  // namespace finetuned::model
