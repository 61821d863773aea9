// The head's loss by chunks of rows: their logits, the softmax in place of them, and the products with its gradient.

#include <algorithm>
#include <cmath>
#include <vector>

#include "trainer/kernels/cross_entropy.h"
#include "trainer/kernels/cuda/matmul.h"
#include "trainer/kernels/cuda/sums.cuh"

namespace finetuned::kernels {

using tensor::Bf16;
using tensor::Cuda;
using namespace cuda;

namespace {

constexpr std::int64_t kRowStep = 128;  // chunks are of whole such steps where the scratch allows
enum State { kLoss, kCorrect };         // of a row's kHeadLossState numbers

struct Best {
  float value;
  int id;
};
__device__ __forceinline__ Best better(Best a, Best b) {
  return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a;
}

/// The block's greatest logit, the lowest id among equals, in every thread.
__device__ Best block_best(Best mine) {
  __shared__ float values[kThreads / kWarp];
  __shared__ int ids[kThreads / kWarp];
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const Best other{__shfl_xor_sync(0xffffffffu, mine.value, distance), __shfl_xor_sync(0xffffffffu, mine.id, distance)};
    mine = better(mine, other);
  }
  if (threadIdx.x % kWarp == 0) {
    values[threadIdx.x / kWarp] = mine.value;
    ids[threadIdx.x / kWarp] = mine.id;
  }
  __syncthreads();
  Best best{values[0], ids[0]};
  for (int warp = 1; warp < kThreads / kWarp; ++warp) best = better(best, {values[warp], ids[warp]});
  return best;
}

/// A block takes a row. `gradients` null: not wanted.
__global__ void row_loss(HeadLoss shape, std::int64_t stride, const float* logits, const std::int32_t* targets, float loss_scale,
                         __nv_bfloat16* gradients, float* state) {
  const std::int64_t row = blockIdx.x;
  const int size = static_cast<int>(shape.vocab_size), target = targets[row];
  const float* const from = logits + row * stride;
  Best best{-INFINITY, size};
  for (int id = static_cast<int>(threadIdx.x); id < size; id += kThreads) best = better(best, {from[id], id});
  best = block_best(best);
  float total = 0;
  for (int id = static_cast<int>(threadIdx.x); id < size; id += kThreads) total += expf(from[id] - best.value);
  total = block_sum(total);
  if (threadIdx.x == 0) {
    state[row * kHeadLossState + kLoss] = logf(total) + best.value - from[target];
    state[row * kHeadLossState + kCorrect] = best.id == target ? 1 : 0;
  }
  if (!gradients) return;
  const float share = loss_scale / total;
  __nv_bfloat16* const to = gradients + row * stride;
  for (int id = static_cast<int>(threadIdx.x); id < size; id += kThreads)
    to[id] = __float2bfloat16_rn(share * expf(from[id] - best.value) - (id == target ? loss_scale : 0));
}

struct Chunks {
  std::int64_t rows;
  std::int64_t stride;  // of both: rows begin aligned
  float* logits;
  Bf16* gradients;
};

/// As many rows as the scratch has room for, with their gradients in bfloat16.
Chunks chunks_of(const Cuda& device, const HeadLoss& shape) {
  const std::int64_t stride = ceiling(shape.vocab_size, 8) * 8;
  const std::int64_t room = static_cast<std::int64_t>(Cuda::kScratchBytes) / (stride * (std::int64_t{sizeof(float)} + std::int64_t{sizeof(Bf16)}));
  base::expects(room >= 1, "a row's logits fit the scratch");
  const std::int64_t rows = std::min(shape.rows, room >= kRowStep ? room / kRowStep * kRowStep : room);
  auto* const logits = static_cast<float*>(device.scratch());
  return {rows, stride, logits, reinterpret_cast<Bf16*>(logits + rows * stride)};
}

/// Of rows that lie in the chunk's buffers.
void chunk_gradients(const Cuda& device, const HeadLoss& chunk, const Bf16* hidden, const Bf16* weight, const Chunks& of,
                     Bf16* d_hidden, float* d_weight) {
  if (d_hidden) {
    Matmul<Bf16> product;
    product.name = "head's gradient";
    product.m = chunk.rows, product.n = chunk.hidden_size, product.k = chunk.vocab_size;
    product.left = {of.gradients, of.stride, false};
    product.right = {weight, chunk.hidden_size, false};
    product.c = d_hidden;
    product.c_stride = chunk.hidden_size;
    matmul(device, product);
  }
  if (d_weight) {
    Matmul<float> product;
    product.name = "head's gradient";
    product.m = chunk.vocab_size, product.n = chunk.hidden_size, product.k = chunk.rows;
    product.left = {of.gradients, of.stride, true};
    product.right = {hidden, chunk.hidden_size, false};
    product.start = product.c = d_weight;
    product.c_stride = chunk.hidden_size;
    matmul(device, product);
  }
}

LossSums sums_of(const Cuda& device, std::int64_t rows, const float* state) {
  std::vector<float> host(static_cast<std::size_t>(rows * kHeadLossState));
  device.copy_out(host.data(), state, rows * kHeadLossState);
  LossSums sums;
  sums.supervised = rows;
  for (std::int64_t row = 0; row < rows; ++row) {
    sums.loss += static_cast<double>(host[static_cast<std::size_t>(row * kHeadLossState + kLoss)]);
    sums.correct += host[static_cast<std::size_t>(row * kHeadLossState + kCorrect)] != 0 ? 1 : 0;
  }
  return sums;
}

}  // namespace

PendingLoss begin_head_loss(const Cuda& device, const HeadLoss& shape, const Bf16* hidden, const Bf16* weight, const std::int32_t* targets,
                            double loss_scale, Bf16* d_hidden, float* d_weight, float* state) {
  if (shape.rows == 0) return {};
  const Chunks chunks = chunks_of(device, shape);
  for (std::int64_t begin = 0; begin < shape.rows; begin += chunks.rows) {
    HeadLoss chunk = shape;
    chunk.rows = std::min(chunks.rows, shape.rows - begin);
    const Bf16* const rows = hidden + begin * shape.hidden_size;
    Matmul<float> product;
    product.name = "logits";
    product.m = chunk.rows, product.n = shape.vocab_size, product.k = shape.hidden_size;
    product.left = {rows, shape.hidden_size, false};
    product.right = {weight, shape.hidden_size, true};
    product.c = chunks.logits;
    product.c_stride = chunks.stride;
    matmul(device, product);
    launch(device, "head loss", row_loss, static_cast<unsigned>(chunk.rows), kThreads, 0, chunk, chunks.stride, chunks.logits, targets + begin,
           static_cast<float>(loss_scale), d_hidden || d_weight ? native(chunks.gradients) : nullptr, state + begin * kHeadLossState);
    chunk_gradients(device, chunk, rows, weight, chunks, d_hidden ? d_hidden + begin * shape.hidden_size : nullptr, d_weight);
  }
  return {{}, [&device, rows = shape.rows, state] { return sums_of(device, rows, state); }};
}

}  // namespace finetuned::kernels
