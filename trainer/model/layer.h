#pragma once

#include <array>
#include <cstdint>

namespace finetuned::model {

/// A place in the base or the adapter: where the value is, and, where it is trained, the gradient.
template <class Real>
struct Parameter {
  Real* value = nullptr;
  Real* gradient = nullptr;
};

/// y = W x + bias + scale B A drop(x). Sizes in elements; matrices row-major.
template <class Real>
struct Linear {
  std::int64_t in = 0, out = 0;
  Parameter<Real> weight;  // [out, in]
  Parameter<Real> bias;    // [out] or null
  Parameter<Real> a;       // [rank, in] or null: no adapter here
  Parameter<Real> b;       // [out, rank]
  Real* low = nullptr;     // [tokens, rank] scale A drop(x), kept for the backward pass
  std::uint64_t key = 0;   // layer * 8 + module: dropout's
};

enum Module { kQ, kK, kV, kO, kGate, kUp, kDown, kModules };

/// One layer. Activations are kept for the backward pass; a model that trains nothing, or that works them out
/// again, shares one set among its layers.
template <class Real>
struct Layer {
  Parameter<Real> input_norm, post_norm;  // [hidden]
  Parameter<Real> q_norm, k_norm;         // [head_dim] or null
  std::array<Linear<Real>, kModules> linear;

  Real* x = nullptr;      // [tokens, hidden] the residual stream as it comes in
  Real* mid = nullptr;    // [tokens, hidden] and between attention and MLP
  Real* q = nullptr;      // [tokens, heads, head_dim] after norm and RoPE
  Real* k = nullptr;      // [tokens, kv_heads, head_dim]
  Real* v = nullptr;      // [tokens, kv_heads, head_dim]
  Real* q_raw = nullptr;  // as q, before its norm; = q where there is none
  Real* k_raw = nullptr;
  Real* mixed = nullptr;       // [tokens, heads, head_dim] attention's output
  Real* lse = nullptr;         // [heads, tokens]
  Real* gate = nullptr;        // [tokens, intermediate]
  Real* up = nullptr;          // [tokens, intermediate]
  Real* input_rstd = nullptr;  // [tokens]
  Real* post_rstd = nullptr;   // [tokens]
  Real* q_rstd = nullptr;      // [tokens, heads]
  Real* k_rstd = nullptr;      // [tokens, kv_heads]
};

}  // namespace finetuned::model
