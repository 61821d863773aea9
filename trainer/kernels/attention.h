#pragma once

#include <cstdint>

#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// Heads wider than these do not fit the kernels' tiles.
inline constexpr std::int64_t kMostHeadDim = 1024;
inline constexpr std::int64_t kMostHeadDimOfGpu = 128;

inline constexpr std::int64_t kKeyPage = 64;  ///< keys of a page, where a GPU's keys lie in pages

/// Causal attention over sequences of different lengths, laid end to end. Grouped queries: query head h reads
/// key head h / (heads / kv_heads). The last query of a sequence stands at its last key, so a sequence may
/// have more keys than queries (decoding with a cache), and the sequences' keys may lie apart. Softmax is
/// online over blocks of keys counted from the sequence's start (arXiv 2205.14135): scores exist for one
/// block at a time, and a row's bits do not depend on the other sequences.
struct Attention {
  std::int64_t sequences = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t window = 0;                   ///< keys a query sees, itself included; 0: all before it
  const std::int32_t* cu_queries = nullptr;  ///< [sequences + 1]
  const std::int32_t* key_begin = nullptr;   ///< [sequences] where each one's keys begin ...
  const std::int32_t* key_end =
      nullptr;  ///< [sequences] ... and end; in training cu_queries and cu_queries + 1
  std::int64_t queries = 0;  ///< of all sequences: cu_queries[sequences]
  /// On a GPU, forward only: key j of sequence s is row pages[s * most_pages + j / kKeyPage] * kKeyPage + j % kKeyPage, and
  /// key_begin is 0. Null: a sequence's keys lie in one piece.
  const std::int32_t* pages = nullptr;
  std::int64_t most_pages = 0;  ///< of a sequence
};

/// q, out [queries, heads, head_dim]; k, v [keys, kv_heads, head_dim]; lse [heads, queries] written: the
/// logarithm of the sum of e^score, scores scaled by 1 / sqrt(head_dim).
void attention(const tensor::Cpu& device, const Attention& shape, const float* q, const float* k,
               const float* v, float* out, float* lse);
void attention(const tensor::Cuda& device, const Attention& shape, const tensor::Bf16* q,
               const tensor::Bf16* k, const tensor::Bf16* v, tensor::Bf16* out, float* lse);
void attention(const tensor::Reference& device, const Attention& shape, const double* q, const double* k,
               const double* v, double* out, double* lse);

/// dq, dk, dv are written. As many keys as queries. `row_dot` [heads, queries]: workspace.
void attention_backward(const tensor::Cpu& device, const Attention& shape, const float* q, const float* k,
                        const float* v, const float* out, const float* lse, const float* d_out, float* dq,
                        float* dk, float* dv, float* row_dot);
void attention_backward(const tensor::Cuda& device, const Attention& shape, const tensor::Bf16* q,
                        const tensor::Bf16* k, const tensor::Bf16* v, const tensor::Bf16* out,
                        const float* lse, const tensor::Bf16* d_out, tensor::Bf16* dq, tensor::Bf16* dk,
                        tensor::Bf16* dv, float* row_dot);
void attention_backward(const tensor::Reference& device, const Attention& shape, const double* q,
                        const double* k, const double* v, const double* out, const double* lse,
                        const double* d_out, double* dq, double* dk, double* dv, double* row_dot);

}  // namespace finetuned::kernels
