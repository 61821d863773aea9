#pragma once

#include <array>
#include <cstdint>

namespace finetuned::model {

/// A place in the base or the adapter: where the value is and, where it is trained, the value that the
/// optimizer keeps (the same memory where Real is Wide) and the gradient.
template <class Device>
struct Parameter {
  typename Device::Real* value = nullptr;
  typename Device::Wide* master = nullptr;
  typename Device::Wide* gradient = nullptr;
};

/// y = W x + bias + scale B A drop(x). Sizes in elements; matrices row-major.
template <class Device>
struct Linear {
  using Real = typename Device::Real;

  std::int64_t in = 0, out = 0;
  Parameter<Device> weight;  // [out, in]
  Parameter<Device> bias;    // [out] or null
  Parameter<Device> a;       // [rank, in] or null: no adapter here
  Parameter<Device> b;       // [out, rank]
  Real* low = nullptr;       // [tokens, rank] scale A drop(x), kept for the backward pass
  std::uint64_t key = 0;     // layer * 8 + module: dropout's
};

enum Module { kQ, kK, kV, kO, kGate, kUp, kDown, kModules };

/// One layer. Activations are kept for the backward pass; a model that trains nothing, or that works them out
/// again, shares one set among its layers.
template <class Device>
struct Layer {
  using Real = typename Device::Real;
  using Wide = typename Device::Wide;

  Parameter<Device> input_norm, post_norm;  // [hidden]
  Parameter<Device> q_norm, k_norm;         // [head_dim] or null
  std::array<Linear<Device>, kModules> linear;

  Real* x = nullptr;      // [tokens, hidden] the residual stream as it comes in
  Real* mid = nullptr;    // [tokens, hidden] and between attention and MLP
  Real* q = nullptr;      // [tokens, heads, head_dim] after norm and RoPE
  Real* k = nullptr;      // [tokens, kv_heads, head_dim]
  Real* v = nullptr;      // [tokens, kv_heads, head_dim]
  Real* q_raw = nullptr;  // as q, before its norm; = q where there is none
  Real* k_raw = nullptr;
  Real* mixed = nullptr;       // [tokens, heads, head_dim] attention's output
  Wide* lse = nullptr;         // [heads, tokens]
  Real* gate = nullptr;        // [tokens, intermediate]
  Real* up = nullptr;          // [tokens, intermediate]
  Wide* input_rstd = nullptr;  // [tokens]
  Wide* post_rstd = nullptr;   // [tokens]
  Wide* q_rstd = nullptr;      // [tokens, heads]
  Wide* k_rstd = nullptr;      // [tokens, kv_heads]
};

}  // namespace finetuned::model
