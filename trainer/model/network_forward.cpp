#include <algorithm>

#include <bit>

#include "base/expects.h"
#include "trainer/kernels/embedding.h"
#include "trainer/kernels/gemm.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/swiglu.h"
#include "trainer/model/network.h"

namespace finetuned::model {

template <class Device>
void Network<Device>::take_batch(const PackedBatch& batch) {
  const std::int64_t tokens = batch.tokens(), rows = batch.rows();
  base::expects(tokens >= 1 && tokens <= settings.max_tokens, "a batch keeps to the token budget");
  base::expects(rows >= 1 && rows <= settings.max_rows, "a batch keeps to the number of rows");
  base::expects(batch.targets.size() == batch.ids.size() && batch.positions.size() == batch.ids.size() &&
                    batch.cu_seqlens.size() == static_cast<std::size_t>(rows) + 1 &&
                    batch.cu_seqlens.back() == tokens,
                "a batch's parts fit each other");
  host_supervised.clear();
  host_targets.clear();
  host_positions.clear();
  host_keys.clear();
  host_tail_keys.clear();
  for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
    for (auto i = static_cast<std::size_t>(batch.cu_seqlens[row]);
         i < static_cast<std::size_t>(batch.cu_seqlens[row + 1]); ++i) {
      const std::int32_t id = batch.ids[i], target = batch.targets[i], position = batch.positions[i];
      base::expects(id >= 0 && id < config.vocab_size && target < config.vocab_size,
                    "ids are of the vocabulary");
      base::expects(position >= 0 && position < max_positions, "positions keep to the context");
      host_keys.push_back(batch.row_keys[row]);
      if (target < 0) continue;
      host_supervised.push_back(static_cast<std::int32_t>(i));
      host_targets.push_back(target);
      host_positions.push_back(position);
      host_tail_keys.push_back(batch.row_keys[row]);
    }
  }
  supervised_count = static_cast<std::int64_t>(host_supervised.size());
  device->copy_in(ids, batch.ids.data(), tokens);
  device->copy_in(positions, batch.positions.data(), tokens);
  device->copy_in(cu_seqlens, batch.cu_seqlens.data(), rows + 1);
  device->copy_in(token_keys, host_keys.data(), tokens);
  device->copy_in(supervised, host_supervised.data(), supervised_count);
  device->copy_in(targets, host_targets.data(), supervised_count);
  device->copy_in(tail_positions, host_positions.data(), supervised_count);
  device->copy_in(tail_keys, host_tail_keys.data(), supervised_count);
}

/// What treats the tail's rows alone.
template <class Device>
typename Network<Device>::Pass Network<Device>::tail_of(const Pass& pass) const {
  Pass tail = pass;
  tail.tokens = supervised_count;
  tail.positions = tail_positions;
  tail.token_keys = tail_keys;
  return tail;
}

/// q, k and v of the layer, after their norms and RoPE; k and v go into the cache where there is one.
template <class Device>
void Network<Device>::qkv_forward(Layer<Device>& layer, std::int64_t index, const Pass& pass) {
  const std::int64_t tokens = pass.tokens, d = config.head_dim, kv_size = config.kv_heads * d;
  kernels::rmsnorm(*device, {tokens, config.hidden_size, config.rms_norm_eps}, layer.x,
                   layer.input_norm.value, normed, layer.input_rstd);
  const Branch branches[] = {{&layer.linear[kQ], layer.q_raw, nullptr},
                             {&layer.linear[kK], layer.k_raw, nullptr},
                             {&layer.linear[kV], layer.v, nullptr}};
  linear_forward(branches, normed, pass);
  if (config.qk_norm) {
    kernels::rmsnorm(*device, {tokens * config.heads, d, config.rms_norm_eps}, layer.q_raw,
                     layer.q_norm.value, layer.q, layer.q_rstd);
    kernels::rmsnorm(*device, {tokens * config.kv_heads, d, config.rms_norm_eps}, layer.k_raw,
                     layer.k_norm.value, layer.k, layer.k_rstd);
  }
  kernels::rope(*device, {tokens, config.heads, d, false}, cosines, sines, pass.positions, layer.q);
  kernels::rope(*device, {tokens, config.kv_heads, d, false}, cosines, sines, pass.positions, layer.k);
  if (!pass.cache) return;
  const std::int64_t at = index * pass.cache->layer_size;
  kernels::scatter_rows(*device, layer.k, cache_slots, tokens, kv_size, pass.cache->keys + at);
  kernels::scatter_rows(*device, layer.v, cache_slots, tokens, kv_size, pass.cache->values + at);
}

/// From `x` to `mid`. Behind the last layer's attention only the tail goes on.
template <class Device>
void Network<Device>::attention_forward(Layer<Device>& layer, std::int64_t index, const Pass& pass) {
  const std::int64_t hidden = config.hidden_size;
  qkv_forward(layer, index, pass);
  const Real *k = layer.k, *v = layer.v;
  if (pass.cache) {
    k = pass.cache->keys + index * pass.cache->layer_size;
    v = pass.cache->values + index * pass.cache->layer_size;
  }
  kernels::attention(*device, pass.attention, layer.q, k, v, layer.mixed, layer.lse);
  if (index + 1 < config.layers) {
    const Branch output[] = {{&layer.linear[kO], layer.mid, layer.x}};
    return linear_forward(output, layer.mixed, pass);
  }
  kernels::gather_rows(*device, layer.mixed, supervised, supervised_count, config.heads * config.head_dim,
                       tail_mixed);
  kernels::gather_rows(*device, layer.x, supervised, supervised_count, hidden, layer.mid);
  const Branch output[] = {{&layer.linear[kO], layer.mid, layer.mid}};
  linear_forward(output, tail_mixed, tail_of(pass));
}

/// From `mid` to what SwiGLU makes of it, in `activated`; down_proj is left to the caller.
template <class Device>
void Network<Device>::mlp_forward(Layer<Device>& layer, const Pass& pass) {
  const std::int64_t tokens = pass.tokens;
  kernels::rmsnorm(*device, {tokens, config.hidden_size, config.rms_norm_eps}, layer.mid,
                   layer.post_norm.value, normed, layer.post_rstd);
  const Branch branches[] = {{&layer.linear[kGate], layer.gate, nullptr},
                             {&layer.linear[kUp], layer.up, nullptr}};
  linear_forward(branches, normed, pass);
  kernels::swiglu(*device, layer.gate, layer.up, tokens * config.intermediate_size, activated);
}

/// From ids to `out`, the tail's rows of the residual stream after the last layer.
template <class Device>
void Network<Device>::forward(const Pass& pass) {
  kernels::gather_rows(*device, embedding.value, ids, pass.tokens, config.hidden_size, layers[0].x);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const bool last = i + 1 == layers.size();
    attention_forward(layers[i], static_cast<std::int64_t>(i), pass);
    if (last && supervised_count == 0) return;
    const Pass rows = last ? tail_of(pass) : pass;
    mlp_forward(layers[i], rows);
    const Branch down[] = {{&layers[i].linear[kDown], last ? out : layers[i + 1].x, layers[i].mid}};
    linear_forward(down, activated, rows);
  }
}

/// The loss of the tail's rows and, where `backward`, its gradient to `out`, in d_stream.
template <class Device>
kernels::PendingLoss Network<Device>::head(bool backward, double loss_scale) {
  const std::int64_t hidden = config.hidden_size, rows = supervised_count;
  if (rows == 0) return {};
  const kernels::RmsNorm norm{rows, hidden, config.rms_norm_eps};
  kernels::rmsnorm(*device, norm, out, final_norm.value, head_normed, head_rstd);
  const Parameter<Device>& weight = head_weight();
  kernels::PendingLoss loss = kernels::begin_head_loss(
      *device, {rows, hidden, config.vocab_size}, head_normed, weight.value, targets, loss_scale,
      backward ? d_stream : nullptr, backward ? weight.gradient : nullptr, head_state);
  if (backward)
    kernels::rmsnorm_backward(*device, norm, d_stream, out, final_norm.value, head_rstd, false, d_stream,
                              final_norm.gradient);
  return loss;
}

template <class Device>
kernels::LossSums Network<Device>::run(const PackedBatch& batch, bool with_backward, double loss_scale,
                                       std::int64_t step) {
  take_batch(batch);
  Pass pass;
  pass.tokens = batch.tokens();
  pass.positions = positions;
  pass.token_keys = token_keys;
  pass.step = static_cast<std::uint64_t>(step);
  pass.drops = with_backward && settings.mode == Mode::kLora && settings.lora.dropout > 0;
  pass.attention = {batch.rows(),          config.heads, config.kv_heads, config.head_dim,
                    config.sliding_window, cu_seqlens,   cu_seqlens,      cu_seqlens + 1,  batch.tokens()};
  const auto work = [&] {
    forward(pass);
    kernels::PendingLoss loss = head(with_backward, loss_scale);
    if (with_backward && supervised_count > 0) backward(pass);
    return loss;
  };
  if (pass.drops || !settings.graphs) return work().get();  // what is dropped changes with each step
  const tensor::GraphKey key{static_cast<std::uint64_t>(pass.tokens), static_cast<std::uint64_t>(batch.rows()),
                             static_cast<std::uint64_t>(supervised_count), with_backward,
                             std::bit_cast<std::uint64_t>(loss_scale)};
  return graphs.run(*device, key, work).get();
}

#define FINETUNED_INSTANTIATE(Device)                                                              \
  template kernels::LossSums Network<Device>::run(const PackedBatch&, bool, double, std::int64_t); \
  template Network<Device>::Pass Network<Device>::tail_of(const Pass&) const;                      \
  template void Network<Device>::attention_forward(Layer<Device>&, std::int64_t, const Pass&);     \
  template void Network<Device>::mlp_forward(Layer<Device>&, const Pass&);                         \
  template void Network<Device>::forward(const Pass&);
FINETUNED_INSTANTIATE(tensor::Cpu)
FINETUNED_INSTANTIATE(tensor::Reference)
FINETUNED_INSTANTIATE(tensor::Cuda)

}  // namespace finetuned::model
