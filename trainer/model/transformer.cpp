#include "trainer/model/transformer.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "base/expects.h"
#include "trainer/kernels/reduce.h"
#include "trainer/model/network.h"

namespace finetuned::model {

template <class Device>
Transformer<Device>::Transformer(Device& device, const formats::ModelConfig& config,
                                 const WeightSource& weights, const ModelSettings& settings)
    : network_(std::make_unique<Network<Device>>(&device, config, settings)) {
  if (settings.mode == Mode::kFull) {
    network_->allocate(nullptr);
    network_->load(weights);
  } else {
    network_->own_base = std::make_unique<BaseWeights<Device>>(device, config, weights);
    network_->allocate(network_->own_base.get());
  }
  network_->draw_adapter();
}

template <class Device>
Transformer<Device>::Transformer(Device& device, const BaseWeights<Device>& base,
                                 const ModelSettings& settings)
    : network_(std::make_unique<Network<Device>>(&device, base.config(), settings)) {
  base::expects(settings.mode != Mode::kFull, "a model that trains every weight has a base of its own");
  network_->allocate(&base);
  network_->draw_adapter();
}

template <class Device>
Transformer<Device>::~Transformer() = default;
template <class Device>
Transformer<Device>::Transformer(Transformer&&) noexcept = default;

template <class Device>
const Device& Transformer<Device>::device() const {
  return *network_->device;
}
template <class Device>
const formats::ModelConfig& Transformer<Device>::config() const {
  return network_->config;
}
template <class Device>
const ModelSettings& Transformer<Device>::settings() const {
  return network_->settings;
}
template <class Device>
std::int64_t Transformer<Device>::max_positions() const {
  return network_->max_positions;
}
template <class Device>
std::vector<tensor::MemoryLine> Transformer<Device>::memory_lines() const {
  auto lines = network_->memory_lines();
  lines.push_back({"kernel scratch", network_->device->scratch_bytes()});
  return lines;
}

template <class Device>
kernels::LossSums Transformer<Device>::accumulate_gradients(const PackedBatch& batch, double loss_scale,
                                                            std::int64_t step) {
  base::expects(network_->settings.trains(), "gradients are for a model that trains");
  return network_->run(batch, true, loss_scale, step);
}
template <class Device>
kernels::LossSums Transformer<Device>::evaluate(const PackedBatch& batch) {
  return network_->run(batch, false, 0, 0);
}

template <class Device>
std::span<const Trainable<typename Device::Wide>> Transformer<Device>::trainables() const {
  return network_->trainables;
}
template <class Device>
std::int64_t Transformer<Device>::trainable_parameters() const {
  std::int64_t count = 0;
  for (const auto& trainable : network_->trainables)
    count += static_cast<std::int64_t>(trainable.value.size());
  return count;
}

template <class Device>
std::int64_t Transformer<Device>::graph_starts() const {
  return network_->graphs.starts();
}

template <class Device>
void Transformer<Device>::zero_gradients() {
  network_->device->zero(network_->gradients, network_->trained_count);
}
template <class Device>
double Transformer<Device>::gradient_norm() const {
  return std::sqrt(kernels::square_sum(*network_->device, network_->gradients, network_->trained_count));
}

template <class Device>
void Transformer<Device>::adamw_step(const kernels::AdamW& settings, std::int64_t step,
                                     double gradient_scale) {
  Network<Device>& n = *network_;
  kernels::AdamW without_decay = settings;
  without_decay.weight_decay = 0;
  // Neighbours that are treated alike are one stretch, the zeros between them included: an adapter is one launch.
  for (auto begin = n.trainables.begin(); begin != n.trainables.end();) {
    const auto end = std::find_if(begin, n.trainables.end(), [&](const auto& other) { return other.decays != begin->decays; });
    const auto& last = std::prev(end)->value;
    const auto at = begin->value.data() - n.values;
    const auto count = last.data() + last.size() - begin->value.data();
    base::expects(count > 0, "trained values lie in the order of their tensors");
    kernels::adamw(*n.device, begin->decays ? settings : without_decay, step, gradient_scale, n.values + at,
                   n.gradients + at, n.first + at, n.second + at, count);
    begin = end;
  }
  n.lower_trained();
}

template <class Device>
void Transformer<Device>::values_changed() {
  network_->lower_trained();
}
template <class Device>
std::span<typename Device::Wide> Transformer<Device>::trained_values() {
  return {network_->values, static_cast<std::size_t>(network_->trained_count)};
}
template <class Device>
std::span<typename Device::Wide> Transformer<Device>::first_moments() {
  return {network_->first, static_cast<std::size_t>(network_->trained_count)};
}
template <class Device>
std::span<typename Device::Wide> Transformer<Device>::second_moments() {
  return {network_->second, static_cast<std::size_t>(network_->trained_count)};
}

template <class Device>
void Transformer<Device>::load_adapter(const formats::Adapter& adapter) {
  Network<Device>& n = *network_;
  base::expects(n.settings.has_adapter(), "an adapter is loaded into a model that has one");
  const LoraSettings& lora = n.settings.lora;
  auto wanted = lora.target_modules, given = adapter.config.target_modules;
  std::sort(wanted.begin(), wanted.end());
  std::sort(given.begin(), given.end());
  if (adapter.config.rank != lora.rank || wanted != given)
    throw base::UsageError("the initial adapter has rank " + std::to_string(adapter.config.rank) +
                           " or target modules other than this run's (rank " + std::to_string(lora.rank) +
                           "); give the run the adapter's own");
  for (const auto& pair : adapter.pairs) {
    const auto module =
        std::find(std::begin(formats::kLinearModules), std::end(formats::kLinearModules), pair.module);
    base::expects(module != std::end(formats::kLinearModules) && pair.layer < n.config.layers,
                  "an adapter fits its base");
    auto& linear = n.layers[static_cast<std::size_t>(pair.layer)]
                       .linear[static_cast<std::size_t>(module - std::begin(formats::kLinearModules))];
    base::expects(linear.a.value && static_cast<std::int64_t>(pair.a.size()) == lora.rank * linear.in &&
                      static_cast<std::int64_t>(pair.b.size()) == lora.rank * linear.out,
                  "an adapter fits its base");
    n.put(linear.a, pair.a);
    n.put(linear.b, pair.b);
  }
  n.lower_trained();
}

template <class Device>
formats::Adapter Transformer<Device>::adapter() const {
  const Network<Device>& n = *network_;
  base::expects(n.settings.has_adapter(), "an adapter comes from a model that has one");
  formats::AdapterConfig config;
  config.rank = n.settings.lora.rank;
  config.alpha = n.settings.lora.alpha;
  config.dropout = n.settings.lora.dropout;
  config.use_rslora = n.settings.lora.use_rslora;
  for (const auto module : formats::kLinearModules) {
    const auto& wanted = n.settings.lora.target_modules;
    if (std::find(wanted.begin(), wanted.end(), module) != wanted.end())
      config.target_modules.emplace_back(module);
  }
  formats::Adapter adapter = formats::make_adapter(config, n.config);
  for (auto& pair : adapter.pairs) {
    const auto module =
        std::find(std::begin(formats::kLinearModules), std::end(formats::kLinearModules), pair.module);
    const auto& linear = n.layers[static_cast<std::size_t>(pair.layer)]
                             .linear[static_cast<std::size_t>(module - std::begin(formats::kLinearModules))];
    n.take(linear.a, pair.a);
    n.take(linear.b, pair.b);
  }
  return adapter;
}

template <class Device>
std::vector<float> Transformer<Device>::tensor(const std::string& name) const {
  for (const auto& slot : network_->slots) {
    if (slot.name != name) continue;
    std::vector<float> host(static_cast<std::size_t>(slot.count));
    network_->take(*slot.parameter, host);
    return host;
  }
  base::broken_invariant("the model has a tensor " + name, std::source_location::current());
}

template <class Device>
void Transformer<Device>::extend(std::span<const Continuation> continuations, KvCache<Device>& cache,
                                 std::span<Wide> logits) {
  network_->extend(continuations, cache, logits);
}
template <class Device>
std::int64_t Transformer<Device>::most_continuations() const {
  return network_->most_continuations();
}

template class Transformer<tensor::Cpu>;
template class Transformer<tensor::Reference>;
template class Transformer<tensor::Cuda>;

}  // namespace finetuned::model
