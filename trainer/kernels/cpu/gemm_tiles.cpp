#include "trainer/kernels/cpu/gemm_tiles.h"

#include <utility>

namespace finetuned::kernels::FINETUNED_ISA {

namespace {

// A tile's sums live in registers: Rows x Vectors accumulators. Each is one chain of multiply-adds over k in
// order, whatever Rows and Vectors are: that is what makes a row's bits independent of the batch around it.
template <int Rows, int Vectors, bool Transposed>
__attribute__((always_inline)) inline void multiply(const BlockProduct& product, std::int64_t row,
                                                    const float* panel, Vector (&sums)[Rows][Vectors]) {
  const float* left[Transposed ? 1 : Rows];
  const std::int64_t k_stride = product.left.k_stride;
  if constexpr (Transposed) {
    left[0] = product.left.data + row;
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i)
      left[i] = product.left.data + (row + i) * product.left.row_stride;
  }
  for (std::int64_t k = 0; k < product.k; ++k) {
    Vector right[Vectors];
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j)
      right[j] = load(panel + j * kLanes);
    panel += kPanel;
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vector x = broadcast(Transposed ? left[0][i] : left[i][k]);
#pragma GCC unroll 4
      for (int j = 0; j < Vectors; ++j)
        sums[i][j] += x * right[j];
    }
    if constexpr (Transposed) left[0] += k_stride;
  }
}

template <int Rows, int Vectors>
void write(const GemmBlock& block, std::int64_t row, std::int64_t column,
           const Vector (&sums)[Rows][Vectors]) {
  const Vector alpha = broadcast(block.alpha);
  for (int i = 0; i < Rows; ++i) {
    float* c = block.c + (row + i) * block.c_stride + column;
    for (int j = 0; j < Vectors; ++j) {
      const std::int64_t at = column + j * kLanes;
      const std::int64_t left = block.n - at;
      if (left <= 0) break;
      const Vector sum = sums[i][j] * alpha;
      float* to = c + j * kLanes;
      if (left >= kLanes) {
        Vector start = block.accumulate ? load(to) : Vector{};
        if (block.bias) start += load(block.bias + at);
        store(to, start + sum);
      } else {
        Vector start = block.accumulate ? load_part(to, left) : Vector{};
        if (block.bias) start += load_part(block.bias + at, left);
        store_part(to, start + sum, left);
      }
    }
  }
}

template <int Rows, int Vectors>
void tile(const GemmBlock& block, std::int64_t row, std::int64_t column) {
  Vector sums[Rows][Vectors] = {};
  const std::int64_t panel = column / kPanel * kPanel;
  const float* first = block.first.panels + panel * block.first.k;
  if (block.first.left.k_stride == 1) {
    multiply<Rows, Vectors, false>(block.first, row, first, sums);
  } else {
    multiply<Rows, Vectors, true>(block.first, row, first, sums);
  }
  if (block.second.k > 0) {
    multiply<Rows, Vectors, false>(block.second, row, block.second.panels + panel * block.second.k, sums);
  }
  write(block, row, column, sums);
}

template <int Rows>
void panel_of_rows(const GemmBlock& block, std::int64_t row, std::int64_t column) {
  const std::int64_t left = block.n - column;
  if (left <= kLanes) {
    tile<Rows, 1>(block, row, column);
  } else if (left <= 2 * kLanes || kTileVectors == 2) {
    tile<Rows, 2>(block, row, column);
  } else {
    tile<Rows, kTileVectors>(block, row, column);
  }
}

template <int Rows>
void last_rows(const GemmBlock& block, std::int64_t row, std::int64_t column, std::int64_t count) {
  if constexpr (Rows > 0) {
    if (count == Rows) {
      panel_of_rows<Rows>(block, row, column);
    } else {
      last_rows<Rows - 1>(block, row, column, count);
    }
  }
}

/// Of two rows that are Step apart, what changes places when the blocks of Step x Step off the diagonal do.
template <int Step, bool Lower, int... Lane>
FINETUNED_INLINE Vector exchange(Vector a, Vector b, std::integer_sequence<int, Lane...>) {
  return Lower ? __builtin_shufflevector(a, b, ((Lane & Step) ? kLanes + Lane : Lane + Step)...)
               : __builtin_shufflevector(a, b, ((Lane & Step) ? kLanes + Lane - Step : Lane)...);
}

template <int Step>
FINETUNED_INLINE void transpose_blocks(Vector (&rows)[kLanes]) {
  if constexpr (Step < kLanes) {
    constexpr auto kAll = std::make_integer_sequence<int, kLanes>();
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i & Step) continue;
      const Vector a = rows[i], b = rows[i + Step];
      rows[i] = exchange<Step, false>(a, b, kAll);
      rows[i + Step] = exchange<Step, true>(a, b, kAll);
    }
    transpose_blocks<2 * Step>(rows);
  }
}

/// A square of kLanes rows of `from`, its columns put down kPanel apart: in registers, since single floats
/// that far apart cost a decoding step, which packs every weight for one row, most of its time.
void transpose_square(const float* from, std::int64_t stride, float* to) {
  Vector rows[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    rows[i] = load(from + i * stride);
  transpose_blocks<1>(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    store(to + i * kPanel, rows[i]);
}

void transpose_panel(const float* from, std::int64_t stride, std::int64_t k, int columns, float* panel) {
  for (std::int64_t begin = 0; begin < k; begin += kLanes) {
    const int depth = static_cast<int>(k - begin < kLanes ? k - begin : kLanes);
    int n = 0;
    for (; depth == kLanes && n + kLanes <= columns; n += kLanes)
      transpose_square(from + n * stride + begin, stride, panel + begin * kPanel + n);
    for (; n < columns; ++n) {
      const float* row = from + n * stride + begin;
      float* to = panel + begin * kPanel + n;
      for (int i = 0; i < depth; ++i)
        to[i * kPanel] = row[i];
    }
    for (int i = 0; i < depth; ++i)
      for (int empty = columns; empty < kPanel; ++empty)
        panel[(begin + i) * kPanel + empty] = 0;
  }
}

}  // namespace

void pack_panels(const RightOperand& right, std::int64_t k, std::int64_t n, std::int64_t begin,
                 std::int64_t end, float* panels) {
  for (std::int64_t column = begin; column < end; column += kPanel, panels += k * kPanel) {
    const int columns = static_cast<int>(n - column < kPanel ? n - column : kPanel);
    if (right.transposed) {
      transpose_panel(right.data + column * right.stride, right.stride, k, columns, panels);
      continue;
    }
    for (std::int64_t i = 0; i < k; ++i) {
      const float* from = right.data + i * right.stride + column;
      float* to = panels + i * kPanel;
      if (columns == kPanel) {
        for (int j = 0; j < kTileVectors; ++j)
          store(to + j * kLanes, load(from + j * kLanes));
      } else {
        for (int j = 0; j < kPanel; ++j)
          to[j] = j < columns ? from[j] : 0;
      }
    }
  }
}

void gemm_block(const GemmBlock& block) {
  for (std::int64_t column = 0; column < block.n; column += kPanel) {
    std::int64_t row = 0;
    for (; row + kTileRows <= block.m; row += kTileRows)
      panel_of_rows<kTileRows>(block, row, column);
    if (row < block.m) last_rows<kTileRows - 1>(block, row, column, block.m - row);
  }
}

}  // namespace finetuned::kernels::FINETUNED_ISA
