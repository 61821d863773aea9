// Whole tiny models: their losses, gradients, updates and answers.

#include <algorithm>
#include <cmath>

#include "tests/kernel_cases/cases.h"
#include "tests/unit/trainer_model/tiny_models.h"

namespace finetuned::model {
namespace {

using kernel_cases::Check;
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
  std::vector<std::vector<float>> adapter;

  bool operator==(const Step&) const = default;
};

/// A gradient, and where an adapter is trained the adapter after an update.
template <class Device>
Step step_of(Device& device, const formats::ModelConfig& config, const ModelSettings& settings, const formats::Adapter* initial) {
  Transformer<Device> model(device, config, held_weights(), settings);
  if (initial) model.load_adapter(*initial);
  const PackedBatch batch = pack(random_rows({7, 1, 12, 20}, 37));
  model.zero_gradients();
  const auto sums = model.accumulate_gradients(batch, 1.0 / static_cast<double>(batch.supervised()), 1);
  Step step{sums.loss / static_cast<double>(sums.supervised), gradients_of(device, model), {}};
  model.adamw_step({.learning_rate = 1e-2}, 1, std::min(1.0, 1 / model.gradient_norm()));
  if (settings.has_adapter()) {
    for (const auto& pair : model.adapter().pairs) {
      step.adapter.push_back(pair.a);
      step.adapter.push_back(pair.b);
    }
  }
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

/// Loss within 1e-2, gradients in the oracle's direction; a second run, in another order of threads, gives the same bits.
void step_is_the_oracles(const Cuda& like, Check& check, const formats::ModelConfig& config, const ModelSettings& settings) {
  Cuda cuda(like.description().index);
  Reference oracle;
  formats::Adapter initial;
  if (settings.has_adapter()) initial = stirred(config, settings);
  const formats::Adapter* start = settings.has_adapter() ? &initial : nullptr;
  const Step expected = step_of(oracle, config, settings, start);
  const Step one = step_of(cuda, config, settings, start);
  check.near("loss", one.loss, expected.loss, 1e-2, 0);
  check.holds(cosine(one.gradients, expected.gradients) >= 0.999, "the gradient has the oracle's direction");
  check.reorder();
  check.holds(one == step_of(cuda, config, settings, start), "the same bits twice");
}

void recomputing_changes_no_bit(const Cuda& like, Check& check, const formats::ModelConfig& config) {
  Cuda cuda(like.description().index);
  ModelSettings settings = lora_settings();
  const formats::Adapter initial = stirred(config, settings);
  const Step stored = step_of(cuda, config, settings, &initial);
  settings.recompute = true;
  check.holds(stored == step_of(cuda, config, settings, &initial), "recomputed = stored, bit for bit");
}

/// Every kernel of a step is in the profile, and the step is what it is without one.
void profiling_changes_no_bit(const Cuda& like, Check& check, const formats::ModelConfig& config) {
  Cuda cuda(like.description().index);
  const ModelSettings settings = lora_settings();
  const formats::Adapter initial = stirred(config, settings);
  const Step unseen = step_of(cuda, config, settings, &initial);
  tensor::Profile profile;
  cuda.set_profile(&profile);
  check.holds(unseen == step_of(cuda, config, settings, &initial), "profiled = not profiled, bit for bit");
  cuda.set_profile(nullptr);
  for (const char* name : {"rmsnorm", "linear forward", "lora A x", "rope", "attention", "swiglu", "logits", "head loss", "head's gradient",
                           "lora dy B", "lora gradient", "linear backward", "attention backward, keys", "adamw"}) {
    const auto line = std::find_if(profile.lines().begin(), profile.lines().end(), [&](const auto& one) { return one.name == name; });
    check.holds(line != profile.lines().end() && line->calls > 0 && line->seconds > 0, std::string(name) + " is in the profile");
  }
}

/// Steps of equal and of other shapes, evaluations between them: recorded and started as graphs, and kernel by kernel.
void graphs_change_no_bit(const Cuda& like, Check& check, const formats::ModelConfig& config) {
  Cuda cuda(like.description().index);
  std::vector<std::vector<double>> losses(2), values(2);
  for (const bool graphs : {false, true}) {
    ModelSettings settings = lora_settings();
    settings.graphs = graphs;
    Transformer<Cuda> model(cuda, config, held_weights(), settings);
    for (std::int64_t step = 1; step <= 5; ++step) {
      const PackedBatch batch = pack(random_rows(step == 4 ? std::vector<int>{9} : std::vector<int>{7, 1, 12}, 37));
      model.zero_gradients();
      losses[graphs].push_back(model.accumulate_gradients(batch, step == 5 ? 0.1 : 0.05, step).loss);
      model.adamw_step({.learning_rate = 1e-2}, step, 1);
      losses[graphs].push_back(model.evaluate(batch).loss);
    }
    for (const auto& pair : model.adapter().pairs) values[graphs].insert(values[graphs].end(), pair.b.begin(), pair.b.end());
  }
  check.holds(losses[0] == losses[1], "graph = no graph, the losses");
  check.holds(values[0] == values[1], "graph = no graph, the adapter");
  check.holds(losses[0][0] != losses[0][2], "the steps differ");
}

/// One sequence goes over two pages of the cache and into a third.
void continuations_are_the_oracles(const Cuda& like, Check& check, formats::ModelConfig config) {
  config.max_position_embeddings = 160;
  ModelSettings settings;
  settings.max_tokens = 80;
  settings.max_rows = 2;
  Cuda cuda(like.description().index);
  Reference oracle;
  Transformer<Cuda> model(cuda, config, held_weights(), settings);
  Transformer<Reference> twin(oracle, config, held_weights(), settings);
  KvCache<Cuda> cache(cuda, config, 2, 150);
  KvCache<Reference> twin_cache(oracle, config, 2, 150);
  const auto ids = [](std::size_t count) {
    std::vector<std::int32_t> made;
    for (std::size_t i = 0; i < count; ++i) made.push_back(static_cast<std::int32_t>((i * i + 3) % 37));
    return made;
  };
  const std::vector<std::int32_t> first = ids(63), second{5, 3, 5}, more = ids(64), others{9, 7}, last{8};
  const Continuation steps[][2] = {{{0, first}, {1, second}}, {{0, more}, {1, others}}, {{0, last}, {1, last}}, {{0, others}, {1, last}}};
  std::vector<float> logits(static_cast<std::size_t>(2 * config.vocab_size));
  std::vector<double> twins(logits.size());
  for (const auto& step : steps) {
    model.extend(step, cache, logits);
    twin.extend(step, twin_cache, twins);
    check.holds(cosine({logits.begin(), logits.end()}, twins) >= 0.9995, "a continuation's logits are the oracle's");
  }
}

}  // namespace
}  // namespace finetuned::model

namespace finetuned::kernel_cases {

void add_model_cases(std::vector<Case>& cases) {
  using namespace model;
  for (const TinyModel& tiny : tiny_models()) {
    const auto add = [&](const std::string& what, const auto& run) {
      cases.push_back({tiny.name + ", " + what, [config = tiny.config, run](const Cuda& cuda, Check& check) { run(cuda, check, config); }});
    };
    ModelSettings full = lora_settings();
    full.mode = Mode::kFull;
    for (const auto& [what, settings] : {std::pair("adapter", lora_settings()), std::pair("adapter under dropout", lora_settings(0.3)),
                                         std::pair("every weight", full)})
      add(what, [settings = settings](const Cuda& cuda, Check& check, const formats::ModelConfig& config) {
        step_is_the_oracles(cuda, check, config, settings);
      });
    add("recomputed", recomputing_changes_no_bit);
    add("in graphs", graphs_change_no_bit);
    add("profiled", profiling_changes_no_bit);
    add("continued", continuations_are_the_oracles);
  }
}

}  // namespace finetuned::kernel_cases
