#include "base/expects.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/embedding.h"
#include "trainer/kernels/gemm.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/swiglu.h"
#include "trainer/model/network.h"

namespace finetuned::model {

namespace {
constexpr std::uint64_t kDropoutDomain = 2;  // of random keys
}

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
  host_keys.clear();
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
    }
  }
  supervised_count = static_cast<std::int64_t>(host_supervised.size());
  device->copy_in(ids, batch.ids.data(), tokens);
  device->copy_in(positions, batch.positions.data(), tokens);
  device->copy_in(cu_seqlens, batch.cu_seqlens.data(), rows + 1);
  device->copy_in(token_keys, host_keys.data(), tokens);
  device->copy_in(supervised, host_supervised.data(), supervised_count);
  device->copy_in(targets, host_targets.data(), supervised_count);
}

template <class Device>
kernels::Dropout Network<Device>::dropout_of(const Linear<Real>& linear, const Pass& pass) const {
  return {settings.lora.dropout,
          kernels::random_key(settings.lora.seed, kDropoutDomain, pass.step, linear.key),
          pass.tokens,
          linear.in,
          positions,
          token_keys};
}

/// What the adapter's A sees: x, or x with dropout in `dropped`.
template <class Device>
const typename Device::Real* Network<Device>::dropped_input(const Linear<Real>& linear, const Real* x,
                                                            const Pass& pass) {
  if (!pass.drops) return x;
  kernels::dropout(*device, dropout_of(linear, pass), x, false, dropped);
  return dropped;
}

template <class Device>
void Network<Device>::linear_forward(Linear<Real>& linear, const Real* x, Real* y, bool accumulate,
                                     const Pass& pass) {
  const std::int64_t rank = settings.lora.rank;
  kernels::Gemm<Real> base;
  base.m = pass.tokens;
  base.n = linear.out;
  base.k = linear.in;
  base.left = {x, linear.in, 1};
  base.right = {linear.weight.value, linear.in, true};
  base.c = y;
  base.c_stride = linear.out;
  base.accumulate = accumulate;
  base.bias = linear.bias.value;
  if (linear.a.value) {
    kernels::Gemm<Real> low;
    low.m = pass.tokens;
    low.n = rank;
    low.k = linear.in;
    low.left = {dropped_input(linear, x, pass), linear.in, 1};
    low.right = {linear.a.value, linear.in, true};
    low.c = linear.low;
    low.c_stride = rank;
    low.alpha = static_cast<Real>(settings.lora.scale());
    kernels::gemm(*device, low);
    base.k2 = rank;
    base.left2 = {linear.low, rank, 1};
    base.right2 = {linear.b.value, rank, true};
  }
  kernels::gemm(*device, base);
}

template <class Device>
void Network<Device>::attention_forward(Layer<Real>& layer, std::int64_t index, const Pass& pass) {
  const std::int64_t tokens = pass.tokens, d = config.head_dim;
  kernels::rmsnorm(*device, {tokens, config.hidden_size, config.rms_norm_eps}, layer.x,
                   layer.input_norm.value, normed, layer.input_rstd);
  // New keys and values go where attention reads them: behind the cached ones where there is a cache.
  Real *k = layer.k, *v = layer.v, *k_raw = layer.k_raw;
  const Real *all_k = k, *all_v = v;
  if (pass.cache) {
    all_k = pass.cache->keys.data() + index * pass.cache->layer_size;
    all_v = pass.cache->values.data() + index * pass.cache->layer_size;
    const std::int64_t behind = index * pass.cache->layer_size + pass.cache->length * config.kv_heads * d;
    k = pass.cache->keys.data() + behind;
    v = pass.cache->values.data() + behind;
    if (!config.qk_norm) k_raw = k;
  }
  linear_forward(layer.linear[kQ], normed, layer.q_raw, false, pass);
  linear_forward(layer.linear[kK], normed, k_raw, false, pass);
  linear_forward(layer.linear[kV], normed, v, false, pass);
  if (config.qk_norm) {
    kernels::rmsnorm(*device, {tokens * config.heads, d, config.rms_norm_eps}, layer.q_raw,
                     layer.q_norm.value, layer.q, layer.q_rstd);
    kernels::rmsnorm(*device, {tokens * config.kv_heads, d, config.rms_norm_eps}, k_raw, layer.k_norm.value,
                     k, layer.k_rstd);
  }
  kernels::rope(*device, {tokens, config.heads, d, false}, cosines, sines, positions, layer.q);
  kernels::rope(*device, {tokens, config.kv_heads, d, false}, cosines, sines, positions, k);
  kernels::attention(*device, pass.attention, layer.q, all_k, all_v, layer.mixed, layer.lse);
  if (layer.mid != layer.x) device->copy(layer.mid, layer.x, tokens * config.hidden_size);
  linear_forward(layer.linear[kO], layer.mixed, layer.mid, true, pass);
}

template <class Device>
void Network<Device>::mlp_forward(Layer<Real>& layer, Real* next, const Pass& pass) {
  const std::int64_t tokens = pass.tokens;
  kernels::rmsnorm(*device, {tokens, config.hidden_size, config.rms_norm_eps}, layer.mid,
                   layer.post_norm.value, normed, layer.post_rstd);
  linear_forward(layer.linear[kGate], normed, layer.gate, false, pass);
  linear_forward(layer.linear[kUp], normed, layer.up, false, pass);
  kernels::swiglu(*device, layer.gate, layer.up, tokens * config.intermediate_size, activated);
  if (next != layer.mid) device->copy(next, layer.mid, tokens * config.hidden_size);
  linear_forward(layer.linear[kDown], activated, next, true, pass);
}

/// From ids to `out`, the residual stream after the last layer.
template <class Device>
void Network<Device>::forward(const Pass& pass) {
  kernels::gather_rows(*device, embedding.value, ids, pass.tokens, config.hidden_size, layers[0].x);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    attention_forward(layers[i], static_cast<std::int64_t>(i), pass);
    mlp_forward(layers[i], i + 1 < layers.size() ? layers[i + 1].x : out, pass);
  }
}

/// The loss of the supervised positions and, where `backward`, its gradient to the stream, in d_stream.
template <class Device>
kernels::LossSums Network<Device>::head(const PackedBatch& batch, bool backward, double loss_scale) {
  const std::int64_t hidden = config.hidden_size, rows = supervised_count;
  if (backward) device->zero(d_stream, batch.tokens() * hidden);
  if (rows == 0) return {};
  const kernels::RmsNorm norm{rows, hidden, config.rms_norm_eps};
  kernels::gather_rows(*device, out, supervised, rows, hidden, head_rows);
  kernels::rmsnorm(*device, norm, head_rows, final_norm.value, head_normed, head_rstd);
  const Parameter<Real>& weight = config.tie_word_embeddings ? embedding : head_own;
  const kernels::LossSums sums = kernels::head_loss(
      *device, {rows, hidden, config.vocab_size}, head_normed, weight.value, targets, loss_scale,
      backward ? d_head : nullptr, backward ? weight.gradient : nullptr, head_state);
  if (!backward) return sums;
  kernels::rmsnorm_backward(*device, norm, d_head, head_rows, final_norm.value, head_rstd, false, d_head,
                            final_norm.gradient);
  kernels::scatter_add_rows(*device, d_head, supervised, rows, hidden, d_stream);
  return sums;
}

template <class Device>
kernels::LossSums Network<Device>::run(const PackedBatch& batch, bool with_backward, double loss_scale,
                                       std::int64_t step) {
  take_batch(batch);
  Pass pass;
  pass.tokens = batch.tokens();
  pass.step = static_cast<std::uint64_t>(step);
  pass.drops = with_backward && settings.mode == Mode::kLora && settings.lora.dropout > 0;
  pass.attention = {batch.rows(),          config.heads, config.kv_heads, config.head_dim,
                    config.sliding_window, cu_seqlens,   cu_seqlens};
  forward(pass);
  const kernels::LossSums sums = head(batch, with_backward, loss_scale);
  if (with_backward && sums.supervised > 0) backward(pass);
  return sums;
}

template <class Device>
void Network<Device>::extend(std::span<const std::int32_t> tokens, KvCache<Real>& cache,
                             std::span<Real> host_logits) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  base::expects(count >= 1 && count <= settings.max_tokens, "new tokens keep to the token budget");
  base::expects(cache.length + count <= cache.capacity && cache.length + count <= max_positions,
                "a sequence keeps to its cache and context");
  base::expects(host_logits.size() == static_cast<std::size_t>(config.vocab_size),
                "there is a logit for each id");
  std::vector<std::int32_t> at(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    base::expects(tokens[i] >= 0 && tokens[i] < config.vocab_size, "ids are of the vocabulary");
    at[i] = static_cast<std::int32_t>(cache.length) + static_cast<std::int32_t>(i);
  }
  device->copy_in(ids, tokens.data(), count);
  device->copy_in(positions, at.data(), count);
  // Where queries and keys begin and end; max_rows >= 1 makes room for two, `supervised` is free here.
  const std::int32_t queries[2] = {0, static_cast<std::int32_t>(count)};
  const std::int32_t keys[2] = {0, static_cast<std::int32_t>(cache.length + count)};
  std::int32_t* cu_keys = targets;
  device->copy_in(cu_seqlens, queries, 2);
  device->copy_in(cu_keys, keys, 2);

  Pass pass;
  pass.tokens = count;
  pass.cache = &cache;
  pass.attention = {1,          config.heads, config.kv_heads, config.head_dim, config.sliding_window,
                    cu_seqlens, cu_keys};
  forward(pass);
  const Real* last = out + (count - 1) * config.hidden_size;
  kernels::rmsnorm(*device, {1, config.hidden_size, config.rms_norm_eps}, last, final_norm.value, head_normed,
                   head_rstd);
  kernels::Gemm<Real> head_gemm;
  head_gemm.m = 1;
  head_gemm.n = config.vocab_size;
  head_gemm.k = config.hidden_size;
  head_gemm.left = {head_normed, config.hidden_size, 1};
  head_gemm.right = {(config.tie_word_embeddings ? embedding : head_own).value, config.hidden_size, true};
  head_gemm.c = logits;
  head_gemm.c_stride = config.vocab_size;
  kernels::gemm(*device, head_gemm);
  device->read(host_logits.data(), logits, config.vocab_size);
  cache.length += count;
}

#define FINETUNED_INSTANTIATE(Device)                                                                    \
  template kernels::LossSums Network<Device>::run(const PackedBatch&, bool, double, std::int64_t);       \
  template void Network<Device>::extend(std::span<const std::int32_t>, KvCache<Real>&, std::span<Real>); \
  template kernels::Dropout Network<Device>::dropout_of(const Linear<Real>&, const Pass&) const;         \
  template const Device::Real* Network<Device>::dropped_input(const Linear<Real>&, const Real*, const Pass&);
FINETUNED_INSTANTIATE(tensor::Cpu)
FINETUNED_INSTANTIATE(tensor::Reference)

}  // namespace finetuned::model
