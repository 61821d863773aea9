#pragma once

#include <cstdint>
#include <functional>
#include <type_traits>

#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// Sums over supervised positions.
struct LossSums {
  double loss = 0;  ///< negative log-likelihood, nats
  std::int64_t supervised = 0;
  std::int64_t correct = 0;  ///< positions whose target has the greatest logit (the lowest id among equals)

  LossSums& operator+=(const LossSums& other) {
    loss += other.loss;
    supervised += other.supervised;
    correct += other.correct;
    return *this;
  }
};

/// Sums that a GPU may still be at work on.
struct PendingLoss {
  LossSums sums;
  std::function<LossSums()> read;  ///< empty: `sums` are known

  /// Waits for them.
  LossSums get() const { return read ? read() : sums; }
};

/// Hidden states wider than this do not fit the CPU's chunks of the head.
inline constexpr std::int64_t kMostHeadHidden = 12288;

/// The head and its softmax cross-entropy over `rows` hidden states, all supervised. Logits exist for one
/// tile of rows and one chunk of the vocabulary at a time: the gradient to `hidden` is gathered in the same
/// pass with a running maximum (as online softmax does for attention), so that rows x vocabulary is never
/// stored, nor computed twice.
struct HeadLoss {
  std::int64_t rows = 0;
  std::int64_t hidden_size = 0;
  std::int64_t vocab_size = 0;
};

/// `hidden` [rows, hidden_size], `weight` [vocab_size, hidden_size], `targets` [rows] in [0, vocab_size).
/// `d_hidden` [rows, hidden_size] is written: loss_scale * (softmax(logits) - onehot(target)) weight; null:
/// not wanted. `d_weight` [vocab_size, hidden_size] is added to; null: not wanted (costs a second pass over
/// the vocabulary). `state` [rows * kHeadLossState]: workspace, to be left alone until the sums were read.
inline constexpr std::int64_t kHeadLossState = 4;
PendingLoss begin_head_loss(const tensor::Cpu& device, const HeadLoss& shape, const float* hidden, const float* weight,
                            const std::int32_t* targets, double loss_scale, float* d_hidden,
                            float* d_weight, float* state);
PendingLoss begin_head_loss(const tensor::Cuda& device, const HeadLoss& shape, const tensor::Bf16* hidden,
                            const tensor::Bf16* weight, const std::int32_t* targets, double loss_scale,
                            tensor::Bf16* d_hidden, float* d_weight, float* state);
PendingLoss begin_head_loss(const tensor::Reference& device, const HeadLoss& shape, const double* hidden,
                            const double* weight, const std::int32_t* targets, double loss_scale,
                            double* d_hidden, double* d_weight, double* state);

/// begin_head_loss() and its sums.
template <class Device, class Real = typename Device::Real, class Wide = typename Device::Wide>
LossSums head_loss(const Device& device, const HeadLoss& shape, const std::type_identity_t<Real>* hidden,
                   const std::type_identity_t<Real>* weight, const std::int32_t* targets, double loss_scale,
                   std::type_identity_t<Real>* d_hidden, std::type_identity_t<Wide>* d_weight,
                   std::type_identity_t<Wide>* state) {
  return begin_head_loss(device, shape, hidden, weight, targets, loss_scale, d_hidden, d_weight, state).get();
}

}  // namespace finetuned::kernels
