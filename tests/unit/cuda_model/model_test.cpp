#include <gtest/gtest.h>

#include "tests/cuda_emulator/emulator.h"
#include "tests/unit/trainer_model/tiny_models.h"

namespace finetuned::model {

namespace {

using tensor::Cuda;
using tensor::Reference;

/// Weights that bfloat16 holds, so that both devices begin from the same.
WeightSource held_weights() {
  return [source = lively_weights()](const std::string& name, std::span<float> out) {
    source(name, out);
    for (float& value : out) value = tensor::widened(tensor::rounded(value));
  };
}

template <class Device>
std::vector<double> gradients_of(const Device& device, const Transformer<Device>& model) {
  std::vector<double> all;
  for (const auto& trainable : model.trainables()) {
    std::vector<float> host(trainable.gradient.size());
    device.copy_out(host.data(), trainable.gradient.data(), static_cast<std::int64_t>(host.size()));
    all.insert(all.end(), host.begin(), host.end());
  }
  return all;
}

struct Step {
  double loss;
  std::vector<double> gradients;
  formats::Adapter adapter;
};

/// A gradient, and where an adapter is trained the adapter after an update.
template <class Device>
Step step_of(const formats::ModelConfig& config, const ModelSettings& settings, const formats::Adapter* initial) {
  Device device;
  Transformer<Device> model(device, config, held_weights(), settings);
  if (initial) model.load_adapter(*initial);
  const PackedBatch batch = pack(random_rows({7, 1, 12, 20}, 37));
  model.zero_gradients();
  const auto sums = model.accumulate_gradients(batch, 1.0 / static_cast<double>(batch.supervised()), 1);
  Step step{sums.loss / static_cast<double>(sums.supervised), gradients_of(device, model), {}};
  model.adamw_step({.learning_rate = 1e-2}, 1, std::min(1.0, 1 / model.gradient_norm()));
  if (settings.has_adapter()) step.adapter = model.adapter();
  return step;
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double product = 0, of_a = 0, of_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    product += a[i] * b[i];
    of_a += a[i] * a[i];
    of_b += b[i] * b[i];
  }
  return product / std::sqrt(of_a * of_b);
}

formats::Adapter stirred(const formats::ModelConfig& config, const ModelSettings& settings) {
  Reference device;
  Transformer<Reference> model(device, config, held_weights(), settings);
  stir_adapter(model);
  return model.adapter();
}

class CudaModel : public testing::TestWithParam<TinyModel> {
 protected:
  /// Loss within 1e-2, gradients in the oracle's direction; `twice`: another order of threads gives the same bits.
  void expect_oracles(const ModelSettings& settings, bool twice = false) {
    const formats::ModelConfig& config = GetParam().config;
    formats::Adapter initial;
    if (settings.has_adapter()) initial = stirred(config, settings);
    const formats::Adapter* start = settings.has_adapter() ? &initial : nullptr;
    const Step oracle = step_of<Reference>(config, settings, start);
    cuda_emulator::set_seed(1);
    const Step one = step_of<Cuda>(config, settings, start);
    EXPECT_NEAR(one.loss, oracle.loss, 1e-2);
    EXPECT_GE(cosine(one.gradients, oracle.gradients), 0.999);
    if (!twice) return;
    cuda_emulator::set_seed(2);
    const Step two = step_of<Cuda>(config, settings, start);
    EXPECT_EQ(one.loss, two.loss);
    EXPECT_EQ(one.gradients, two.gradients);
    for (std::size_t i = 0; i < one.adapter.pairs.size(); ++i) {
      EXPECT_EQ(one.adapter.pairs[i].a, two.adapter.pairs[i].a);
      EXPECT_EQ(one.adapter.pairs[i].b, two.adapter.pairs[i].b);
    }
  }
};

TEST_P(CudaModel, AnAdaptersGradientIsTheOracles) { expect_oracles(lora_settings(), true); }
TEST_P(CudaModel, AnAdaptersGradientUnderDropoutIsTheOracles) { expect_oracles(lora_settings(0.3)); }

TEST_P(CudaModel, RecomputingChangesNoBit) {
  ModelSettings settings = lora_settings();
  const formats::Adapter initial = stirred(GetParam().config, settings);
  const Step stored = step_of<Cuda>(GetParam().config, settings, &initial);
  settings.recompute = true;
  const Step recomputed = step_of<Cuda>(GetParam().config, settings, &initial);
  EXPECT_EQ(stored.loss, recomputed.loss);
  EXPECT_EQ(stored.gradients, recomputed.gradients);
}

TEST_P(CudaModel, EveryWeightsGradientIsTheOracles) {
  ModelSettings settings = lora_settings();
  settings.mode = Mode::kFull;
  expect_oracles(settings);
}

TEST_P(CudaModel, AContinuationsLogitsAreTheOracles) {
  ModelSettings settings;
  settings.max_tokens = 32;
  settings.max_rows = 2;
  Cuda cuda;
  Reference oracle;
  const formats::ModelConfig& config = GetParam().config;
  Transformer<Cuda> model(cuda, config, held_weights(), settings);
  Transformer<Reference> twin(oracle, config, held_weights(), settings);
  KvCache<Cuda> cache(cuda, config, 2, 30);
  KvCache<Reference> twin_cache(oracle, config, 2, 30);
  const std::vector<std::int32_t> first{3, 1, 4, 1, 5, 9, 2, 6}, second{5, 3, 5}, more{8}, others{9, 7};
  const Continuation steps[][2] = {{{0, first}, {1, second}}, {{0, more}, {1, others}}};
  std::vector<float> logits(static_cast<std::size_t>(2 * config.vocab_size));
  std::vector<double> twins(logits.size());
  for (const auto& step : steps) {
    model.extend(step, cache, logits);
    twin.extend(step, twin_cache, twins);
    EXPECT_GE(cosine({logits.begin(), logits.end()}, twins), 0.9995);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, CudaModel, testing::ValuesIn(tiny_models()),
                         [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace finetuned::model
