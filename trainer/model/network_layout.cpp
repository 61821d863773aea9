#include <algorithm>
#include <cmath>
#include <type_traits>

#include "base/expects.h"
#include "trainer/kernels/counter_rng.h"
#include "trainer/kernels/lower.h"
#include "trainer/kernels/rope.h"
#include "trainer/model/network.h"

namespace finetuned::model {

namespace {

constexpr std::uint64_t kAdapterDomain = 1;  // of random keys; dropout has 2

std::int64_t product(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const auto size : shape)
    count *= size;
  return count;
}

std::string layer_prefix(std::size_t layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

}  // namespace

template <class Device>
Network<Device>::Network(Device* on, const formats::ModelConfig& model, const ModelSettings& how)
    : device(on), config(model), settings(how), layers(static_cast<std::size_t>(model.layers)) {
  check_settings<Device>(config, settings);
  max_positions = settings.max_positions;
  if (max_positions == 0) {
    max_positions = config.max_position_embeddings;
    if (settings.trains()) max_positions = std::min(max_positions, settings.max_tokens);
  }
  add_slots();
  reserve_parameters();
  reserve_batch();
  reserve_activations();
}

template <class Device>
void Network<Device>::add_slot(const std::string& name, const std::vector<std::int64_t>& shape,
                               Parameter<Device>& parameter, bool base) {
  Slot slot;
  slot.name = name;
  slot.shape = shape;
  slot.count = product(shape);
  slot.parameter = &parameter;
  slot.base = base;
  slot.trained = base ? settings.mode == Mode::kFull : settings.mode == Mode::kLora;
  if (slot.trained || !base) {
    std::int64_t& end = slot.trained ? trained_count : held_count;
    slot.offset = end;
    end += (slot.count + 15) / 16 * 16;
  }
  slots.push_back(slot);
}

/// The parameter that a Hugging Face name stands for.
template <class Device>
Parameter<Device>& Network<Device>::base_parameter(const std::string& name) {
  if (name == "model.embed_tokens.weight") return embedding;
  if (name == "model.norm.weight") return final_norm;
  if (name == "lm_head.weight") return head_own;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string prefix = layer_prefix(i);
    if (!name.starts_with(prefix)) continue;
    const std::string rest = name.substr(prefix.size());
    if (rest == "input_layernorm.weight") return layers[i].input_norm;
    if (rest == "post_attention_layernorm.weight") return layers[i].post_norm;
    if (rest == "self_attn.q_norm.weight") return layers[i].q_norm;
    if (rest == "self_attn.k_norm.weight") return layers[i].k_norm;
    for (int module = 0; module < kModules; ++module) {
      auto& linear = layers[i].linear[static_cast<std::size_t>(module)];
      const std::string path =
          formats::linear_path(static_cast<std::int64_t>(i), formats::kLinearModules[module]);
      if (name == path + ".weight") return linear.weight;
      if (name == path + ".bias") return linear.bias;
    }
  }
  base::broken_invariant("every expected tensor has its place in the network: " + name,
                         std::source_location::current());
}

template <class Device>
void Network<Device>::add_slots() {
  for (const auto& tensor : formats::expected_tensors(config))
    add_slot(tensor.name, tensor.shape, base_parameter(tensor.name), true);
  const auto& wanted = settings.lora.target_modules;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    for (int module = 0; module < kModules; ++module) {
      const auto name = formats::kLinearModules[module];
      auto& linear = layers[i].linear[static_cast<std::size_t>(module)];
      const auto shape = *formats::linear_shape(config, name);
      linear.in = shape.in;
      linear.out = shape.out;
      linear.key = i * 8 + static_cast<std::uint64_t>(module);
      if (!settings.has_adapter() || std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
      const std::string prefix = formats::peft_prefix(static_cast<std::int64_t>(i), name);
      add_slot(prefix + ".lora_A.weight", {settings.lora.rank, shape.in}, linear.a, false);
      add_slot(prefix + ".lora_B.weight", {shape.out, settings.lora.rank}, linear.b, false);
    }
  }
}

template <class Device>
void Network<Device>::reserve_parameters() {
  arena.reserve(held, "adapter", held_count);
  arena.reserve(values, "trained values", trained_count);
  arena.reserve(lowered, "trained values", std::is_same_v<Real, Wide> ? 0 : trained_count);
  arena.reserve(gradients, "gradients", trained_count);
  arena.reserve(first, "optimizer moments", trained_count);
  arena.reserve(second, "optimizer moments", trained_count);
  arena.reserve(cosines, "rotary tables", max_positions * config.head_dim / 2);
  arena.reserve(sines, "rotary tables", max_positions * config.head_dim / 2);
}

template <class Device>
void Network<Device>::reserve_layer(Layer<Device>& layer, const std::string& line) {
  const std::int64_t tokens = settings.max_tokens, hidden = config.hidden_size;
  const std::int64_t q_size = config.heads * config.head_dim, kv_size = config.kv_heads * config.head_dim;
  if (!settings.recompute) arena.reserve(layer.x, line, tokens * hidden);
  if (settings.trains()) arena.reserve(layer.mid, line, tokens * hidden);
  arena.reserve(layer.q, line, tokens * q_size);
  arena.reserve(layer.k, line, tokens * kv_size);
  arena.reserve(layer.v, line, tokens * kv_size);
  arena.reserve(layer.q_raw, line, config.qk_norm ? tokens * q_size : 0);
  arena.reserve(layer.k_raw, line, config.qk_norm ? tokens * kv_size : 0);
  arena.reserve(layer.q_rstd, line, config.qk_norm ? tokens * config.heads : 0);
  arena.reserve(layer.k_rstd, line, config.qk_norm ? tokens * config.kv_heads : 0);
  arena.reserve(layer.mixed, line, tokens * q_size);
  arena.reserve(layer.lse, line, tokens * config.heads);
  arena.reserve(layer.gate, line, tokens * config.intermediate_size);
  arena.reserve(layer.up, line, tokens * config.intermediate_size);
  arena.reserve(layer.input_rstd, line, tokens);
  arena.reserve(layer.post_rstd, line, tokens);
  if (!settings.has_adapter()) return;
  for (int module = 0; module < kModules; ++module) {
    const auto& wanted = settings.lora.target_modules;
    const bool adapted =
        std::find(wanted.begin(), wanted.end(), formats::kLinearModules[module]) != wanted.end();
    arena.reserve(layer.linear[static_cast<std::size_t>(module)].low, line,
                  adapted ? tokens * settings.lora.rank : 0);
  }
}

template <class Device>
void Network<Device>::reserve_batch() {
  const std::int64_t tokens = settings.max_tokens, rows = settings.max_rows;
  const std::string line = "batch";
  for (std::int32_t** each : {&ids, &positions, &supervised, &targets, &tail_positions})
    arena.reserve(*each, line, tokens);
  arena.reserve(token_keys, line, tokens);
  arena.reserve(tail_keys, line, tokens);
  arena.reserve(cu_seqlens, line, rows + 1);
  arena.reserve(key_begin, line, rows);
  arena.reserve(key_pages, line, rows * most_pages());
  arena.reserve(key_end, line, rows);
  arena.reserve(cache_slots, line, tokens);
  for (auto* each : {&host_supervised, &host_targets, &host_positions, &host_ids, &host_slots})
    each->reserve(static_cast<std::size_t>(tokens));
  for (auto* each : {&host_bounds, &host_key_begin, &host_key_end})
    each->reserve(static_cast<std::size_t>(rows) + 1);
  host_keys.reserve(static_cast<std::size_t>(tokens));
  host_tail_keys.reserve(static_cast<std::size_t>(tokens));
}

template <class Device>
void Network<Device>::reserve_activations() {
  const std::int64_t tokens = settings.max_tokens, hidden = config.hidden_size;
  const std::int64_t q_size = config.heads * config.head_dim, kv_size = config.kv_heads * config.head_dim;
  const std::int64_t widest = std::max({hidden, config.intermediate_size, q_size});
  if (shares_activations()) {
    reserve_layer(layers[0], "activations");
  } else {
    for (auto& layer : layers)
      reserve_layer(layer, "activations");
  }
  if (settings.recompute) {
    for (auto& layer : layers)
      arena.reserve(layer.x, "layer inputs", tokens * hidden);
  }
  const std::string line = "workspace";
  if (settings.trains()) arena.reserve(out, line, tokens * hidden);
  if (!settings.trains()) arena.reserve(tail_mid, line, tokens * hidden);
  arena.reserve(tail_mixed, line, tokens * q_size);
  arena.reserve(normed, line, tokens * hidden);
  arena.reserve(activated, line, tokens * config.intermediate_size);
  arena.reserve(head_normed, line, tokens * hidden);
  arena.reserve(head_rstd, line, tokens);
  arena.reserve(head_state, line, tokens * kernels::kHeadLossState);
  arena.reserve(logits, line, most_continuations() * config.vocab_size);
  if (!settings.trains()) return;
  arena.reserve(d_stream, line, tokens * hidden);
  arena.reserve(d_normed, line, tokens * hidden);
  arena.reserve(d_tail, line, tokens * hidden);
  arena.reserve(d_mixed, line, tokens * q_size);
  arena.reserve(d_q, line, tokens * q_size);
  arena.reserve(d_k, line, tokens * kv_size);
  arena.reserve(d_v, line, tokens * kv_size);
  arena.reserve(row_dot, line, tokens * config.heads);
  if (settings.mode == Mode::kFull) return;
  arena.reserve(d_low, line, 3 * tokens * settings.lora.rank);
  arena.reserve(dropped, line, settings.lora.dropout > 0 ? tokens * widest : 0);
}

template <class Device>
std::vector<tensor::MemoryLine> Network<Device>::memory_lines() const {
  auto lines = arena.lines();
  if (settings.mode != Mode::kFull)
    lines.insert(lines.begin(), {"frozen weights", BaseWeights<Device>::planned_bytes(config)});
  return lines;
}

template <class Device>
void Network<Device>::allocate(const BaseWeights<Device>* base) {
  arena.allocate(*device);
  if constexpr (std::is_same_v<Real, Wide>) lowered = values;
  for (Slot& slot : slots) {
    if (slot.base && !slot.trained) {
      slot.parameter->value =
          const_cast<Real*>(base->find(slot.name));  // without a gradient nothing writes there
      continue;
    }
    slot.parameter->value = (slot.trained ? lowered : held) + slot.offset;
    if (!slot.trained) continue;
    slot.parameter->master = values + slot.offset;
    slot.parameter->gradient = gradients + slot.offset;
    const auto count = static_cast<std::size_t>(slot.count);
    trainables.push_back({slot.name,
                          slot.shape,
                          {slot.parameter->master, count},
                          {slot.parameter->gradient, count},
                          slot.shape.size() > 1});
  }
  place_activations();
  const auto tables = kernels::rope_tables(config, max_positions);
  const std::vector<float> c(tables.cosines.begin(), tables.cosines.end()),
      s(tables.sines.begin(), tables.sines.end());
  device->copy_in(cosines, c.data(), static_cast<std::int64_t>(c.size()));
  device->copy_in(sines, s.data(), static_cast<std::int64_t>(s.size()));
}

/// Points the layers that share the first one's activations at them.
template <class Device>
void Network<Device>::place_activations() {
  for (auto& layer : layers) {
    if (shares_activations() && &layer != &layers[0]) {
      const Layer<Device> own = layer;
      layer = layers[0];
      layer.input_norm = own.input_norm;
      layer.post_norm = own.post_norm;
      layer.q_norm = own.q_norm;
      layer.k_norm = own.k_norm;
      layer.linear = own.linear;
      for (std::size_t i = 0; i < kModules; ++i)
        layer.linear[i].low = layers[0].linear[i].low;
      if (settings.recompute) layer.x = own.x;
    }
    if (!config.qk_norm) layer.q_raw = layer.q, layer.k_raw = layer.k;
  }
  if (settings.trains()) return;
  for (auto& layer : layers)
    layer.mid = layer.x;  // the stream is not read again
  layers.back().mid = out = tail_mid;
}

template <class Device>
void Network<Device>::load(const WeightSource& weights) {
  std::vector<float> host;
  for (const Slot& slot : slots) {
    if (!slot.base) continue;
    host.resize(static_cast<std::size_t>(slot.count));
    weights(slot.name, host);
    put(*slot.parameter, host);
  }
  lower_trained();
}

/// Where the optimizer keeps it, if it is trained; then lower_trained() is due.
template <class Device>
void Network<Device>::put(const Parameter<Device>& parameter, std::span<const float> host) {
  const auto count = static_cast<std::int64_t>(host.size());
  if (parameter.master) {
    device->copy_in(parameter.master, host.data(), count);
  } else {
    device->copy_in(parameter.value, host.data(), count);
  }
}

/// As the optimizer keeps it, where it is trained.
template <class Device>
void Network<Device>::take(const Parameter<Device>& parameter, std::span<float> host) const {
  const auto count = static_cast<std::int64_t>(host.size());
  if (parameter.master) {
    device->copy_out(host.data(), parameter.master, count);
  } else {
    device->copy_out(host.data(), parameter.value, count);
  }
}

/// What is trained as the kernels read it.
template <class Device>
void Network<Device>::lower_trained() {
  if constexpr (!std::is_same_v<Real, Wide>) kernels::lower(*device, values, trained_count, lowered);
}

template <class Device>
void Network<Device>::draw_adapter() {
  for (auto& layer : layers) {
    for (auto& linear : layer.linear) {
      if (!linear.a.value) continue;
      const double bound = 1 / std::sqrt(static_cast<double>(linear.in));
      const std::uint64_t key = kernels::random_key(settings.lora.seed, kAdapterDomain, linear.key);
      std::vector<float> host(static_cast<std::size_t>(settings.lora.rank * linear.in));
      for (std::size_t i = 0; i < host.size(); ++i)
        host[i] = static_cast<float>(bound * (2 * kernels::random_uniform(key, i) - 1));
      put(linear.a, host);
    }
  }
  lower_trained();
}

template struct Network<tensor::Cpu>;
template struct Network<tensor::Reference>;
template struct Network<tensor::Cuda>;

}  // namespace finetuned::model
