#include <algorithm>

#include "trainer/kernels/dropout.h"
#include "trainer/kernels/embedding.h"
#include "trainer/kernels/gemm.h"
#include "trainer/kernels/reduce.h"
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

/// From dy [tokens, out]: gradients of what is trained here and, where `dx` is not null, dx [tokens, in].
/// `dx` may be `x`.
template <class Device>
void Network<Device>::linear_backward(Linear<Real>& linear, const Real* x, const Real* dy, Real* dx,
                                      bool accumulate, const Pass& pass) {
  const std::int64_t tokens = pass.tokens, rank = settings.lora.rank, in = linear.in, out_size = linear.out;
  const auto add_product = [&](std::int64_t m, std::int64_t n, const Real* left, std::int64_t left_stride,
                               const Real* right, std::int64_t right_stride,
                               Real* to) {  // to += left^T right
    kernels::Gemm<Real> g;
    g.m = m;
    g.n = n;
    g.k = tokens;
    g.left = {left, 1, left_stride};
    g.right = {right, right_stride, false};
    g.c = to;
    g.c_stride = n;
    g.accumulate = true;
    kernels::gemm(*device, g);
  };
  if (linear.weight.gradient) add_product(out_size, in, dy, out_size, x, in, linear.weight.gradient);
  if (linear.bias.gradient) kernels::add_column_sums(*device, dy, tokens, out_size, linear.bias.gradient);
  if (linear.a.value) {  // d_low = scale dy B, the gradient of A drop(x)
    kernels::Gemm<Real> g;
    g.m = tokens;
    g.n = rank;
    g.k = out_size;
    g.left = {dy, out_size, 1};
    g.right = {linear.b.value, rank, false};
    g.c = d_low;
    g.c_stride = rank;
    g.alpha = static_cast<Real>(settings.lora.scale());
    kernels::gemm(*device, g);
    add_product(out_size, rank, dy, out_size, linear.low, rank, linear.b.gradient);
    add_product(rank, in, d_low, rank, dropped_input(linear, x, pass), in, linear.a.gradient);
  }
  if (!dx) return;
  kernels::Gemm<Real> g;
  g.m = tokens;
  g.n = in;
  g.k = out_size;
  g.left = {dy, out_size, 1};
  g.right = {linear.weight.value, in, false};
  g.c = dx;
  g.c_stride = in;
  g.accumulate = accumulate;
  const bool rides_along = linear.a.value && !pass.drops;
  if (rides_along) {
    g.k2 = rank;
    g.left2 = {d_low, rank, 1};
    g.right2 = {linear.a.value, in, false};
  }
  kernels::gemm(*device, g);
  if (!linear.a.value || rides_along) return;
  kernels::Gemm<Real> low;  // with dropout the low-rank part passes the mask on its way back
  low.m = tokens;
  low.n = in;
  low.k = rank;
  low.left = {d_low, rank, 1};
  low.right = {linear.a.value, in, false};
  low.c = dropped;
  low.c_stride = in;
  kernels::gemm(*device, low);
  kernels::dropout(*device, dropout_of(linear, pass), dropped, true, dx);
}

template <class Device>
void Network<Device>::norm_backward(const Parameter<Real>& norm, const Real* dy, const Real* x,
                                    const Real* rstd, std::int64_t tokens) {
  kernels::rmsnorm_backward(*device, {tokens, config.hidden_size, config.rms_norm_eps}, dy, x, norm.value,
                            rstd, true, d_stream, norm.gradient);
}

/// d_stream: from the gradient of the layer's output to that of `mid`. False where nothing below wants it.
template <class Device>
bool Network<Device>::mlp_backward(Layer<Real>& layer, std::int64_t index, const Pass& pass) {
  const std::int64_t tokens = pass.tokens;
  const bool below_down = wanted_from(index, kDown), below_gate = wanted_from(index, kGate);
  kernels::swiglu(*device, layer.gate, layer.up, tokens * config.intermediate_size, activated);
  linear_backward(layer.linear[kDown], activated, d_stream, below_down ? activated : nullptr, false, pass);
  if (!below_down) return false;
  kernels::swiglu_backward(*device, activated, layer.gate, layer.up, tokens * config.intermediate_size);
  kernels::rmsnorm_apply(*device, {tokens, config.hidden_size, config.rms_norm_eps}, layer.mid,
                         layer.post_norm.value, layer.post_rstd, normed);
  Real* dx = below_gate ? d_normed : nullptr;
  linear_backward(layer.linear[kGate], normed, layer.gate, dx, false, pass);
  linear_backward(layer.linear[kUp], normed, layer.up, dx, true, pass);
  if (below_gate) norm_backward(layer.post_norm, d_normed, layer.mid, layer.post_rstd, tokens);
  return below_gate;
}

/// d_stream: from the gradient of `mid` to that of the layer's input. False where nothing below wants it.
template <class Device>
bool Network<Device>::attention_backward(Layer<Real>& layer, std::int64_t index, const Pass& pass) {
  const std::int64_t tokens = pass.tokens, d = config.head_dim;
  const bool below_o = wanted_from(index, kO), below = wanted_from(index, kQ);
  linear_backward(layer.linear[kO], layer.mixed, d_stream, below_o ? d_mixed : nullptr, false, pass);
  if (!below_o) return false;
  kernels::attention_backward(*device, pass.attention, layer.q, layer.k, layer.v, layer.mixed, layer.lse,
                              d_mixed, d_q, d_k, d_v, row_dot);
  kernels::rope(*device, {tokens, config.heads, d, true}, cosines, sines, positions, d_q);
  kernels::rope(*device, {tokens, config.kv_heads, d, true}, cosines, sines, positions, d_k);
  if (config.qk_norm) {
    kernels::rmsnorm_backward(*device, {tokens * config.heads, d, config.rms_norm_eps}, d_q, layer.q_raw,
                              layer.q_norm.value, layer.q_rstd, false, d_q, layer.q_norm.gradient);
    kernels::rmsnorm_backward(*device, {tokens * config.kv_heads, d, config.rms_norm_eps}, d_k, layer.k_raw,
                              layer.k_norm.value, layer.k_rstd, false, d_k, layer.k_norm.gradient);
  }
  kernels::rmsnorm_apply(*device, {tokens, config.hidden_size, config.rms_norm_eps}, layer.x,
                         layer.input_norm.value, layer.input_rstd, normed);
  Real* dx = below ? d_normed : nullptr;
  linear_backward(layer.linear[kQ], normed, d_q, dx, false, pass);
  linear_backward(layer.linear[kK], normed, d_k, dx, true, pass);
  linear_backward(layer.linear[kV], normed, d_v, dx, true, pass);
  if (below) norm_backward(layer.input_norm, d_normed, layer.x, layer.input_rstd, tokens);
  return below;
}

template <class Device>
void Network<Device>::backward(const Pass& pass) {
  for (std::size_t i = layers.size(); i-- > 0;) {
    const auto index = static_cast<std::int64_t>(i);
    if (!mlp_backward(layers[i], index, pass)) return;
    if (!attention_backward(layers[i], index, pass)) return;
  }
  if (embedding.gradient)
    kernels::scatter_add_rows(*device, d_stream, ids, pass.tokens, config.hidden_size, embedding.gradient);
}

template void Network<tensor::Cpu>::backward(const Pass&);
template void Network<tensor::Reference>::backward(const Pass&);

}  // namespace finetuned::model
