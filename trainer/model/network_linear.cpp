// The linear layers, one or several that read the same input, with what LoRA adds to them.

#include "base/expects.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/gemm.h"
#include "trainer/kernels/lora.h"
#include "trainer/kernels/reduce.h"
#include "trainer/model/network.h"

namespace finetuned::model {

namespace {

constexpr std::uint64_t kDropoutDomain = 2;  // of random keys
constexpr std::size_t kMostBranches = 3;     // q, k and v
static_assert(2 * kMostBranches <= kernels::kMostProducts);

}  // namespace

template <class Device>
kernels::Dropout Network<Device>::dropout_of(const Linear<Device>& linear, const Pass& pass) const {
  return {
      settings.lora.dropout, kernels::random_key(settings.lora.seed, kDropoutDomain, pass.step, linear.key),
      pass.tokens,           linear.in,
      pass.positions,        pass.token_keys};
}

/// What the adapter's A sees: x, or x with dropout in `dropped`.
template <class Device>
const typename Device::Real* Network<Device>::dropped_input(const Linear<Device>& linear, const Real* x,
                                                            const Pass& pass) {
  if (!pass.drops) return x;
  kernels::dropout(*device, dropout_of(linear, pass), x, false, dropped);
  return dropped;
}

/// low = scale A drop(x) of each branch's layer that has an adapter, kept in the layer.
template <class Device>
void Network<Device>::low_forward(std::span<const Branch> branches, const Real* x, const Pass& pass) {
  base::expects(branches.size() <= kMostBranches, "few layers read one input");
  const kernels::Lora shape{pass.tokens, settings.lora.rank, branches[0].linear->in};
  const auto scale = static_cast<Wide>(settings.lora.scale());
  std::array<const Real*, kMostBranches> a{};
  std::array<Real*, kMostBranches> low{};
  std::size_t adapted = 0;
  for (const Branch& branch : branches) {
    const Linear<Device>& linear = *branch.linear;
    if (!linear.a.value) continue;
    a[adapted] = linear.a.value;
    low[adapted++] = linear.low;
    if (!pass.drops) continue;
    kernels::lora_a_forward(*device, shape, dropped_input(linear, x, pass), std::span(a).first(1), scale,
                            std::span(low).first(1));  // each layer has a mask of its own
    adapted = 0;
  }
  if (adapted > 0)
    kernels::lora_a_forward(*device, shape, x, std::span(a).first(adapted), scale,
                            std::span(low).first(adapted));
}

/// y = start + W x + bias + B low for each branch.
template <class Device>
void Network<Device>::linear_forward(std::span<const Branch> branches, const Real* x, const Pass& pass) {
  low_forward(branches, x, pass);
  const std::int64_t rank = settings.lora.rank, in = branches[0].linear->in;
  std::array<kernels::Gemm<Real>, kMostBranches> group;
  for (std::size_t i = 0; i < branches.size(); ++i) {
    const Linear<Device>& linear = *branches[i].linear;
    kernels::Gemm<Real>& g = group[i];
    g.m = pass.tokens;
    g.n = linear.out;
    g.products[0] = {{x, in, 1}, {linear.weight.value, in, true}, in};
    if (linear.a.value) g.products[1] = {{linear.low, rank, 1}, {linear.b.value, rank, true}, rank};
    g.c = branches[i].y;
    g.c_stride = linear.out;
    g.start = branches[i].start;
    g.bias = linear.bias.value;
    g.name = "linear forward";
  }
  kernels::gemm(*device, std::span<const kernels::Gemm<Real>>(group.data(), branches.size()));
}

/// What is trained of a layer, from dy [tokens, out] and x [tokens, in]; `low_gradient` [tokens, rank] is
/// written: scale dy B, the gradient of A drop(x).
template <class Device>
void Network<Device>::linear_gradients(const BackBranch& branch, const Real* x, Real* low_gradient,
                                       const Pass& pass) {
  const Linear<Device>& linear = *branch.linear;
  if (linear.weight.gradient) {  // += dy^T x
    kernels::Gemm<Real, Wide> g;
    g.m = linear.out;
    g.n = linear.in;
    g.products[0] = {{branch.dy, 1, linear.out}, {x, linear.in, false}, pass.tokens};
    g.c = linear.weight.gradient;
    g.c_stride = linear.in;
    g.start = g.c;
    g.name = "weight gradients";
    kernels::gemm(*device, g);
  }
  if (linear.bias.gradient)
    kernels::add_column_sums(*device, branch.dy, pass.tokens, linear.out, linear.bias.gradient);
  if (!linear.a.value) return;
  const std::int64_t rank = settings.lora.rank;
  const kernels::Lora of_a{pass.tokens, rank, linear.in}, of_b{pass.tokens, rank, linear.out};
  kernels::lora_b_backward(*device, of_b, branch.dy, linear.b.value, static_cast<Wide>(settings.lora.scale()),
                           low_gradient);
  kernels::lora_b_gradient(*device, of_b, linear.low, branch.dy, linear.b.gradient);
  kernels::lora_a_gradient(*device, of_a, low_gradient, dropped_input(linear, x, pass), linear.a.gradient);
}

/// Gradients of what is trained in the layers that read x and, where `dx` is not null, dx [tokens, in] = the
/// sum of their dy W + low_gradient A. `dx` may be `x`.
template <class Device>
void Network<Device>::linear_backward(std::span<const BackBranch> branches, const Real* x, Real* dx,
                                      const Pass& pass) {
  base::expects(branches.size() <= kMostBranches, "few layers read one input");
  const std::int64_t rank = settings.lora.rank, in = branches[0].linear->in;
  kernels::Gemm<Real> g;
  g.m = pass.tokens;
  g.n = in;
  g.c = dx;
  g.c_stride = in;
  g.name = "linear backward";
  std::size_t products = 0;
  Real* low_gradient = d_low;
  for (const BackBranch& branch : branches) {
    const Linear<Device>& linear = *branch.linear;
    linear_gradients(branch, x, low_gradient, pass);
    g.products[products++] = {{branch.dy, linear.out, 1}, {linear.weight.value, in, false}, linear.out};
    if (!linear.a.value) continue;
    if (!pass.drops) g.products[products++] = {{low_gradient, rank, 1}, {linear.a.value, in, false}, rank};
    low_gradient += pass.tokens * rank;
  }
  if (!dx) return;
  kernels::gemm(*device, g);
  if (!pass.drops) return;
  low_gradient = d_low;
  for (const BackBranch& branch : branches) {  // the low-rank part passes its layer's mask on the way back
    if (!branch.linear->a.value) continue;
    kernels::Gemm<Real> low;
    low.m = pass.tokens;
    low.n = in;
    low.products[0] = {{low_gradient, rank, 1}, {branch.linear->a.value, in, false}, rank};
    low.c = dropped;
    low.c_stride = in;
    low.name = "lora dropout backward";
    kernels::gemm(*device, low);
    kernels::dropout(*device, dropout_of(*branch.linear, pass), dropped, true, dx);
    low_gradient += pass.tokens * rank;
  }
}

#define FINETUNED_INSTANTIATE(Device)                                                                       \
  template void Network<Device>::low_forward(std::span<const Branch>, const Device::Real*, const Pass&);    \
  template void Network<Device>::linear_forward(std::span<const Branch>, const Device::Real*, const Pass&); \
  template void Network<Device>::linear_backward(std::span<const BackBranch>, const Device::Real*,          \
                                                 Device::Real*, const Pass&);
FINETUNED_INSTANTIATE(tensor::Cpu)
FINETUNED_INSTANTIATE(tensor::Reference)
FINETUNED_INSTANTIATE(tensor::Cuda)

}  // namespace finetuned::model
