#pragma once

// What is inside a Transformer: its layers, its workspace, and one function for each way through it.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/kernels/attention.h"
#include "trainer/kernels/dropout.h"
#include "trainer/model/layer.h"
#include "trainer/model/transformer.h"
#include "trainer/tensor/arena.h"
#include "trainer/tensor/graphs.h"

namespace finetuned::model {

template <class Device>
struct Network {
  using Real = typename Device::Real;
  using Wide = typename Device::Wide;

  /// Reserves everything. `device` may be null where only the plan is wanted; allocate() takes the memory and
  /// points into `base`, which is null in mode kFull.
  Network(Device* device, const formats::ModelConfig& config, const ModelSettings& settings);
  void allocate(const BaseWeights<Device>* base);
  std::vector<tensor::MemoryLine> memory_lines() const;
  void load(const WeightSource& weights);
  void draw_adapter();
  void put(const Parameter<Device>& parameter, std::span<const float> host);
  void take(const Parameter<Device>& parameter, std::span<float> host) const;
  void lower_trained();

  kernels::LossSums run(const PackedBatch& batch, bool backward, double loss_scale, std::int64_t step);
  void extend(std::span<const Continuation> continuations, KvCache<Device>& cache, std::span<Wide> logits);
  std::int64_t most_continuations() const { return settings.trains() ? 1 : settings.max_rows; }

  // network_layout.cpp
  struct Slot {
    std::string name;
    std::vector<std::int64_t> shape;
    std::int64_t count = 0;
    std::int64_t offset = 0;  // elements from the start of the piece of trained or of held values
    Parameter<Device>* parameter = nullptr;
    bool base = false;  // of the base, not of the adapter
    bool trained = false;
  };
  void add_slots();
  void add_slot(const std::string& name, const std::vector<std::int64_t>& shape, Parameter<Device>& parameter,
                bool base);
  Parameter<Device>& base_parameter(const std::string& name);
  void reserve_parameters();
  void reserve_batch();
  void reserve_activations();
  bool shares_activations() const { return !settings.trains() || settings.recompute; }
  void place_activations();
  void reserve_layer(Layer<Device>& layer, const std::string& line);

  struct Pass {  // what the functions below know of the rows that they treat
    std::int64_t tokens = 0;
    const std::int32_t* positions = nullptr;
    const std::uint64_t* token_keys = nullptr;
    std::uint64_t step = 0;
    bool drops = false;  // dropout is on
    kernels::Attention attention;
    KvCache<Device>* cache = nullptr;
  };
  Pass tail_of(const Pass& pass) const;

  // network_linear.cpp
  struct Branch {  // a linear layer among those that read one input
    Linear<Device>* linear = nullptr;
    Real* y = nullptr;            // written
    const Real* start = nullptr;  // what y adds to; null: nothing
  };
  struct BackBranch {
    Linear<Device>* linear = nullptr;
    const Real* dy = nullptr;
  };
  void low_forward(std::span<const Branch> branches, const Real* x, const Pass& pass);
  void linear_forward(std::span<const Branch> branches, const Real* x, const Pass& pass);
  void linear_backward(std::span<const BackBranch> branches, const Real* x, Real* dx, const Pass& pass);
  void linear_gradients(const BackBranch& branch, const Real* x, Real* low_gradient, const Pass& pass);
  kernels::Dropout dropout_of(const Linear<Device>& linear, const Pass& pass) const;
  const Real* dropped_input(const Linear<Device>& linear, const Real* x, const Pass& pass);

  // network_forward.cpp
  void take_batch(const PackedBatch& batch);
  void forward(const Pass& pass);
  void qkv_forward(Layer<Device>& layer, std::int64_t index, const Pass& pass);
  void attention_forward(Layer<Device>& layer, std::int64_t index, const Pass& pass);
  void mlp_forward(Layer<Device>& layer, const Pass& pass);
  kernels::PendingLoss head(bool backward, double loss_scale);
  const Parameter<Device>& head_weight() const { return config.tie_word_embeddings ? embedding : head_own; }

  // network_extend.cpp
  void take_continuations(std::span<const Continuation> continuations, KvCache<Device>& cache);
  std::int64_t most_pages() const { return Device::kHostMemory ? 0 : (max_positions + kernels::kKeyPage - 1) / kernels::kKeyPage; }

  // network_backward.cpp
  void backward(const Pass& pass);
  bool output_backward(Layer<Device>& layer, std::int64_t index, const Pass& pass);
  bool attention_backward(Layer<Device>& layer, std::int64_t index, const Pass& pass);
  bool mlp_backward(Layer<Device>& layer, std::int64_t index, const Pass& pass);
  bool wanted_from(std::int64_t index, int before) const;
  void norm_backward(const Parameter<Device>& norm, const Real* dy, const Real* x, const Wide* rstd,
                     std::int64_t tokens);

  Device* device;
  formats::ModelConfig config;
  ModelSettings settings;
  tensor::Arena arena;
  std::vector<Slot> slots;
  std::vector<Trainable<Wide>> trainables;
  std::vector<Layer<Device>> layers;
  Parameter<Device> embedding;                    // [vocab, hidden]
  Parameter<Device> final_norm;                   // [hidden]
  Parameter<Device> head_own;                     // [vocab, hidden]; null where tied
  std::unique_ptr<BaseWeights<Device>> own_base;  // where the model was not given one
  std::int64_t held_count = 0, trained_count = 0;
  Real* held = nullptr;     // an adapter that is not trained
  Real* lowered = nullptr;  // `values` as Real; the same memory where that is Wide
  Wide *values = nullptr, *gradients = nullptr, *first = nullptr, *second = nullptr;

  std::int64_t max_positions = 0;
  Wide *cosines = nullptr, *sines = nullptr;  // [max_positions, head_dim / 2]

  // The batch on the device.
  std::int32_t *ids = nullptr, *positions = nullptr, *cu_seqlens = nullptr;
  std::uint64_t* token_keys = nullptr;
  // The tail: the supervised positions (of a continuation its last), behind the last layer's attention the
  // only ones that anybody reads. Which tokens they are, what they predict, and as above.
  std::int32_t *supervised = nullptr, *targets = nullptr, *tail_positions = nullptr;
  std::uint64_t* tail_keys = nullptr;
  std::int32_t *key_begin = nullptr, *key_end = nullptr, *cache_slots = nullptr;  // of continuations
  std::int32_t* key_pages = nullptr;  // [continuations, most_pages()]; null where keys lie in one piece
  std::vector<std::int32_t> host_supervised, host_targets, host_positions;
  std::vector<std::int32_t> host_ids, host_slots, host_bounds, host_key_begin, host_key_end,
      host_pages;  // of continuations
  std::vector<std::uint64_t> host_keys, host_tail_keys;
  std::int64_t supervised_count = 0;
  tensor::Graphs<Device, kernels::PendingLoss> graphs;  // of run()

  // Workspace, each [max_tokens, ...].
  Real* out = nullptr;         // hidden: the stream after the last layer, the tail's rows alone
  Real* tail_mid = nullptr;    // hidden: the last `mid` of a model that trains nothing
  Real* tail_mixed = nullptr;  // heads * head_dim: the tail's rows of the last layer's `mixed`
  Real* normed = nullptr;      // hidden
  Real* activated = nullptr;   // intermediate
  Real* d_stream = nullptr;    // hidden: the gradient that walks down the residual stream
  Real* d_normed = nullptr;    // hidden
  Real* d_mixed = nullptr;     // heads * head_dim
  Real *d_q = nullptr, *d_k = nullptr, *d_v = nullptr;
  Wide* row_dot = nullptr;      // heads
  Real* d_low = nullptr;        // 3 * rank: of up to three layers that read one input
  Real* dropped = nullptr;      // the widest input; null without dropout
  Real* head_normed = nullptr;  // hidden
  Wide* head_rstd = nullptr;    // 1
  Real* d_tail = nullptr;       // hidden: d_stream's rows of the tail
  Wide* head_state = nullptr;
  Wide* logits = nullptr;  // [most_continuations, vocab]
};

template <class Device>
void check_settings(const formats::ModelConfig& config, const ModelSettings& settings);

}  // namespace finetuned::model
