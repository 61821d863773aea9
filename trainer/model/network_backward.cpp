#include <algorithm>

#include "trainer/kernels/embedding.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/swiglu.h"
#include "trainer/model/network.h"

namespace finetuned::model {

/// Whether a gradient is wanted by anything that comes before module `before` in layer `index`: above the
/// lowest adapter it is, below nobody reads it.
template <class Device>
bool Network<Device>::wanted_from(std::int64_t index, int before) const {
  if (settings.mode == Mode::kFull || index > 0) return true;
  const auto& linear = layers[0].linear;
  return std::any_of(linear.begin(), linear.begin() + before,
                     [](const auto& one) { return one.a.value != nullptr; });
}

template <class Device>
void Network<Device>::norm_backward(const Parameter<Device>& norm, const Real* dy, const Real* x,
                                    const Wide* rstd, std::int64_t tokens) {
  kernels::rmsnorm_backward(*device, {tokens, config.hidden_size, config.rms_norm_eps}, dy, x, norm.value,
                            rstd, true, d_stream, norm.gradient);
}

/// d_stream: from the gradient of the layer's output to that of `mid`. False where nothing below wants it.
template <class Device>
bool Network<Device>::mlp_backward(Layer<Device>& layer, std::int64_t index, const Pass& pass) {
  const std::int64_t tokens = pass.tokens;
  const bool below_down = wanted_from(index, kDown), below_gate = wanted_from(index, kGate);
  kernels::swiglu(*device, layer.gate, layer.up, tokens * config.intermediate_size, activated);
  const BackBranch down[] = {{&layer.linear[kDown], d_stream}};
  linear_backward(down, activated, below_down ? activated : nullptr, pass);
  if (!below_down) return false;
  kernels::swiglu_backward(*device, activated, layer.gate, layer.up, tokens * config.intermediate_size);
  kernels::rmsnorm_apply(*device, {tokens, config.hidden_size, config.rms_norm_eps}, layer.mid,
                         layer.post_norm.value, layer.post_rstd, normed);
  const BackBranch branches[] = {{&layer.linear[kGate], layer.gate}, {&layer.linear[kUp], layer.up}};
  linear_backward(branches, normed, below_gate ? d_normed : nullptr, pass);
  if (below_gate) norm_backward(layer.post_norm, d_normed, layer.mid, layer.post_rstd, tokens);
  return below_gate;
}

/// d_mixed: the gradient of attention's output, from d_stream, the gradient of `mid`.
template <class Device>
bool Network<Device>::output_backward(Layer<Device>& layer, std::int64_t index, const Pass& pass) {
  const std::int64_t q_size = config.heads * config.head_dim;
  const bool last = index + 1 == config.layers, below_o = wanted_from(index, kO);
  const BackBranch output[] = {{&layer.linear[kO], d_stream}};
  if (!last) {
    linear_backward(output, layer.mixed, below_o ? d_mixed : nullptr, pass);
    return below_o;
  }
  // Of the last layer only the tail's rows have a gradient: they take their places among all.
  Real* of_tail = d_q;  // free until attention's backward
  linear_backward(output, tail_mixed, below_o ? of_tail : nullptr, tail_of(pass));
  if (!below_o) return false;
  device->zero(d_mixed, pass.tokens * q_size);
  kernels::scatter_rows(*device, of_tail, supervised, supervised_count, q_size, d_mixed);
  device->copy(d_tail, d_stream, supervised_count * config.hidden_size);
  device->zero(d_stream, pass.tokens * config.hidden_size);
  kernels::scatter_rows(*device, d_tail, supervised, supervised_count, config.hidden_size, d_stream);
  return true;
}

/// d_stream: from the gradient of `mid` to that of the layer's input. False where nothing below wants it.
template <class Device>
bool Network<Device>::attention_backward(Layer<Device>& layer, std::int64_t index, const Pass& pass) {
  const std::int64_t tokens = pass.tokens, d = config.head_dim;
  const bool below = wanted_from(index, kQ);
  if (!output_backward(layer, index, pass)) return false;
  kernels::attention_backward(*device, pass.attention, layer.q, layer.k, layer.v, layer.mixed, layer.lse,
                              d_mixed, d_q, d_k, d_v, row_dot);
  kernels::rope(*device, {tokens, config.heads, d, true}, cosines, sines, pass.positions, d_q);
  kernels::rope(*device, {tokens, config.kv_heads, d, true}, cosines, sines, pass.positions, d_k);
  if (config.qk_norm) {
    kernels::rmsnorm_backward(*device, {tokens * config.heads, d, config.rms_norm_eps}, d_q, layer.q_raw,
                              layer.q_norm.value, layer.q_rstd, false, d_q, layer.q_norm.gradient);
    kernels::rmsnorm_backward(*device, {tokens * config.kv_heads, d, config.rms_norm_eps}, d_k, layer.k_raw,
                              layer.k_norm.value, layer.k_rstd, false, d_k, layer.k_norm.gradient);
  }
  kernels::rmsnorm_apply(*device, {tokens, config.hidden_size, config.rms_norm_eps}, layer.x,
                         layer.input_norm.value, layer.input_rstd, normed);
  const BackBranch branches[] = {
      {&layer.linear[kQ], d_q}, {&layer.linear[kK], d_k}, {&layer.linear[kV], d_v}};
  linear_backward(branches, normed, below ? d_normed : nullptr, pass);
  if (below) norm_backward(layer.input_norm, d_normed, layer.x, layer.input_rstd, tokens);
  return below;
}

template <class Device>
void Network<Device>::backward(const Pass& pass) {
  for (std::size_t i = layers.size(); i-- > 0;) {
    const auto index = static_cast<std::int64_t>(i);
    const bool last = i + 1 == layers.size();
    if (settings.recompute && !last) {  // the shared activations still are the last layer's
      attention_forward(layers[i], index, pass);
      mlp_forward(layers[i], pass);
      const Branch down[] = {{&layers[i].linear[kDown], nullptr, nullptr}};
      low_forward(down, activated, pass);
    }
    if (!mlp_backward(layers[i], index, last ? tail_of(pass) : pass)) return;
    if (!attention_backward(layers[i], index, pass)) return;
  }
  if (embedding.gradient)
    kernels::scatter_add_rows(*device, d_stream, ids, pass.tokens, config.hidden_size, embedding.gradient);
}

template void Network<tensor::Cpu>::backward(const Pass&);
template void Network<tensor::Reference>::backward(const Pass&);
template void Network<tensor::Cuda>::backward(const Pass&);

}  // namespace finetuned::model
