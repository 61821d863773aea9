#pragma once

#include <array>
#include <cstdint>

#include "trainer/kernels/adamw_math.h"
#include "trainer/kernels/gemm.h"
#include "trainer/tensor/device.h"

namespace finetuned::kernels {

/// Reads element (row, k) of a left operand at data[row * row_stride + k * k_stride]: a matrix or its
/// transpose.
struct LeftOperand {
  const float* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t k_stride = 1;
};

/// One product of a block: [m, k] times panels of columns. Panel i begins at panels + i * panel_stride; its
/// rows of the panel's width lie k_step apart. Packed: panel_stride = k * width, k_step = width; a row-major
/// matrix as it is: panel_stride = width, k_step = its stride.
struct BlockProduct {
  LeftOperand left;
  const float* panels = nullptr;
  std::int64_t k = 0;
  std::int64_t panel_stride = 0;
  std::int64_t k_step = 0;
};

/// c [m, n] = (start or 0) + (bias or 0) + alpha * sum of the products. Single-threaded.
struct GemmBlock {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::array<BlockProduct, kMostProducts> products;  ///< those with k > 0, from the front
  float* c = nullptr;
  std::int64_t c_stride = 0;
  const float* start = nullptr;  ///< null, or [m, n] of c's stride
  float alpha = 1;
  const float* bias = nullptr;  ///< [n] or null
};

/// A right operand [k, n]: element (k, n) at data[n * stride + k] where `transposed` (a linear's weight [out,
/// in] used forward), else data[k * stride + n].
struct RightOperand {
  const float* data = nullptr;
  std::int64_t stride = 0;
  bool transposed = false;
};

/// A weight [out, in] met by few rows, as in decoding: c [m, n] as of a GemmBlock, its products' right
/// operands transposed and read once, straight from where they lie.
struct FewRows {
  std::int64_t m = 0;               ///< 1 .. kMostFewRows
  std::int64_t begin = 0, end = 0;  ///< columns of c; begin is a multiple of 16
  std::array<LeftOperand, kMostProducts> left;
  std::array<RightOperand, kMostProducts> right;
  /// Begin at the columns that are met after these: asked of memory meanwhile.
  std::array<RightOperand, kMostProducts> ahead;
  std::array<std::int64_t, kMostProducts> k{};
  float* c = nullptr;
  std::int64_t c_stride = 0;
  const float* start = nullptr;
  float alpha = 1;
  const float* bias = nullptr;
};
inline constexpr std::int64_t kMostFewRows = 8;

/// out [rows, rank] = alpha x a^T, for rows of x that lie `x_stride` apart: sums over kLanes partial chains.
struct LowRankProject {
  std::int64_t rows = 0, rank = 0, k = 0;
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  const float* a = nullptr;  ///< [rank, k]
  float alpha = 1;
  float* out = nullptr;  ///< [rows, rank], rows out_stride apart
  std::int64_t out_stride = 0;
};

/// A softmax whose inputs come in chunks.
struct SoftmaxRow {
  float maximum = -__builtin_inff();
  float sum = 0;           ///< of e^(logit - maximum)
  std::int32_t best = -1;  ///< id of the maximum, the lowest among equals
};

inline constexpr std::int64_t kNoIds = -1;  ///< the argmax is not wanted

/// The inner loops, built once for each instruction set. All are single-threaded; each output element is a
/// fixed chain of operations that depends on neither its neighbours nor its place, so that a row has the same
/// bits in any batch.
struct Tiles {
  int lanes;        ///< floats in a register
  int panel_width;  ///< a multiple of it
  int tile_rows;
  /// Packs columns [begin, end) of a right operand into panels; begin is a multiple of panel_width; the last
  /// panel is filled up with zeros. `panels` is where panel begin / panel_width goes.
  void (*pack)(const RightOperand& right, std::int64_t k, std::int64_t n, std::int64_t begin,
               std::int64_t end, float* panels);
  void (*gemm)(const GemmBlock& block);
  void (*few_rows)(const FewRows& block);
  void (*low_rank_project)(const LowRankProject& block);

  /// The first of `rows` rows of `size`, all `stride` apart: rstd = 1 / sqrt(mean(x^2) + eps); y = x rstd
  /// weight.
  void (*rmsnorm)(const float* x, const float* weight, std::int64_t rows, std::int64_t size,
                  std::int64_t stride, float eps, float* y, float* rstd);
  /// y = x rstd weight, with a known rstd.
  void (*rmsnorm_apply)(const float* x, const float* weight, const float* rstd, std::int64_t rows,
                        std::int64_t size, std::int64_t stride, float* y);
  /// dx (+)= rstd (weight dy - x_hat mean(weight dy x_hat)), x_hat = x rstd. `dx` may be `dy` where not
  /// `add`.
  void (*rmsnorm_backward)(const float* dy, const float* x, const float* weight, const float* rstd,
                           std::int64_t rows, std::int64_t size, std::int64_t stride, bool add, float* dx);
  /// out = gate sigmoid(gate) up
  void (*swiglu)(const float* gate, const float* up, std::int64_t count, float* out);
  /// In place: gate becomes d_gate, up becomes d_up.
  void (*swiglu_backward)(const float* d_out, float* gate, float* up, std::int64_t count);
  /// Rotates `heads` heads of size 2 half by the angles whose cosines and sines are given; sign -1 turns
  /// back.
  void (*rotate)(float* x, const float* cosines, const float* sines, std::int64_t heads, std::int64_t half,
                 float sign);
  /// logits become e^(logit - maximum), with the running maximum, sum and argmax of `row`; returns the factor
  /// by which what was summed before must be multiplied. `first_id`: the first logit's, or kNoIds.
  float (*softmax_chunk)(float* logits, std::int64_t count, std::int64_t first_id, SoftmaxRow& row);
  /// values = factor e^(values - offset)
  void (*exp_shifted)(float* values, std::int64_t count, float offset, float factor);
  /// ds = factor p (dp - d). `ds` may be `dp`.
  void (*softmax_backward)(const float* p, const float* dp, float d, float factor, std::int64_t count,
                           float* ds);
  float (*dot)(const float* a, const float* b, std::int64_t count);
  void (*scale)(float* values, std::int64_t count, float factor);
  void (*add_scaled)(float* to, const float* from, float factor, std::int64_t count);
  void (*adamw)(const AdamWFactors& factors, float* value, const float* gradient, float* first, float* second,
                std::int64_t count);
};

const Tiles& tiles(tensor::Isa isa);

namespace baseline {
extern const Tiles kTiles;
}
namespace avx2 {
extern const Tiles kTiles;
}
namespace avx512 {
extern const Tiles kTiles;
}

}  // namespace finetuned::kernels
