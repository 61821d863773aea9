#pragma once

// What is inside a Transformer: its parameters, its activations, and one function for each way through it.

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/kernels/attention.h"
#include "trainer/kernels/dropout.h"
#include "trainer/model/transformer.h"
#include "trainer/tensor/arena.h"

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

/// One layer. Activations are kept for the backward pass; a model that trains nothing shares one set among
/// its layers.
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

template <class Device>
struct Network {
  using Real = typename Device::Real;

  /// Reserves everything. `device` may be null where only the plan is wanted; allocate() takes the memory and
  /// points into `base`, which is null in mode kFull.
  Network(Device* device, const formats::ModelConfig& config, const ModelSettings& settings);
  void allocate(const BaseWeights<Device>* base);
  std::vector<tensor::MemoryLine> memory_lines() const;
  void load(const WeightSource& weights);
  void draw_adapter();

  kernels::LossSums run(const PackedBatch& batch, bool backward, double loss_scale, std::int64_t step);
  void extend(std::span<const std::int32_t> tokens, KvCache<Real>& cache, std::span<Real> logits);

  // network_layout.cpp
  struct Slot {
    std::string name;
    std::vector<std::int64_t> shape;
    std::int64_t count = 0;
    std::int64_t offset = 0;  // elements from the start of the piece of trained or of held values
    Parameter<Real>* parameter = nullptr;
    bool base = false;  // of the base, not of the adapter
    bool trained = false;
  };
  void add_slots();
  void add_slot(const std::string& name, const std::vector<std::int64_t>& shape, Parameter<Real>& parameter,
                bool base);
  Parameter<Real>& base_parameter(const std::string& name);
  void reserve_parameters();
  void reserve_activations();
  void reserve_layer(Layer<Real>& layer, const std::string& line);

  // network_forward.cpp
  struct Pass {  // what the functions below know of the batch
    std::int64_t tokens = 0;
    std::uint64_t step = 0;
    bool drops = false;  // dropout is on
    kernels::Attention attention;
    KvCache<Real>* cache = nullptr;
  };
  void take_batch(const PackedBatch& batch);
  void forward(const Pass& pass);
  void attention_forward(Layer<Real>& layer, std::int64_t index, const Pass& pass);
  void mlp_forward(Layer<Real>& layer, Real* out, const Pass& pass);
  void linear_forward(Linear<Real>& linear, const Real* x, Real* y, bool accumulate, const Pass& pass);
  kernels::Dropout dropout_of(const Linear<Real>& linear, const Pass& pass) const;
  const Real* dropped_input(const Linear<Real>& linear, const Real* x, const Pass& pass);
  kernels::LossSums head(const PackedBatch& batch, bool backward, double loss_scale);

  // network_backward.cpp
  void backward(const Pass& pass);
  bool attention_backward(Layer<Real>& layer, std::int64_t index, const Pass& pass);
  bool mlp_backward(Layer<Real>& layer, std::int64_t index, const Pass& pass);
  bool wanted_from(std::int64_t index, int before) const;
  void linear_backward(Linear<Real>& linear, const Real* x, const Real* dy, Real* dx, bool accumulate,
                       const Pass& pass);
  void norm_backward(const Parameter<Real>& norm, const Real* dy, const Real* x, const Real* rstd,
                     std::int64_t tokens);

  Device* device;
  formats::ModelConfig config;
  ModelSettings settings;
  tensor::Arena arena;
  std::vector<Slot> slots;
  std::vector<Trainable<Real>> trainables;
  std::vector<Layer<Real>> layers;
  Parameter<Real> embedding;                      // [vocab, hidden]
  Parameter<Real> final_norm;                     // [hidden]
  Parameter<Real> head_own;                       // [vocab, hidden]; null where tied
  std::unique_ptr<BaseWeights<Device>> own_base;  // where the model was not given one
  std::int64_t held_count = 0, trained_count = 0;
  Real* held = nullptr;  // an adapter that is not trained
  Real *values = nullptr, *gradients = nullptr, *first = nullptr, *second = nullptr;

  std::int64_t max_positions = 0;
  Real *cosines = nullptr, *sines = nullptr;  // [max_positions, head_dim / 2]

  // The batch on the device.
  std::int32_t *ids = nullptr, *positions = nullptr, *cu_seqlens = nullptr;
  std::int32_t *supervised = nullptr, *targets = nullptr;  // [tokens] which positions, and what they predict
  std::uint64_t* token_keys = nullptr;
  std::vector<std::int32_t> host_supervised, host_targets;
  std::vector<std::uint64_t> host_keys;
  std::int64_t supervised_count = 0;

  // Workspace, each [max_tokens, ...].
  Real* out = nullptr;        // hidden: the stream after the last layer
  Real* normed = nullptr;     // hidden
  Real* activated = nullptr;  // intermediate
  Real* d_stream = nullptr;   // hidden: the gradient that walks down the residual stream
  Real* d_normed = nullptr;   // hidden
  Real* d_mixed = nullptr;    // heads * head_dim
  Real *d_q = nullptr, *d_k = nullptr, *d_v = nullptr;
  Real* row_dot = nullptr;      // heads
  Real* d_low = nullptr;        // rank
  Real* dropped = nullptr;      // the widest input; null without dropout
  Real* head_rows = nullptr;    // hidden: the supervised rows of `out`
  Real* head_normed = nullptr;  // hidden
  Real* head_rstd = nullptr;    // 1
  Real* d_head = nullptr;       // hidden
  Real* head_state = nullptr;
  Real* logits = nullptr;  // [vocab], of one token
};

void check_settings(const formats::ModelConfig& config, const ModelSettings& settings);

}  // namespace finetuned::model
