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
    panel += product.k_step;
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
    const std::int64_t place = (row + i) * block.c_stride + column;
    float* c = block.c + place;
    const float* from = block.start ? block.start + place : nullptr;
    for (int j = 0; j < Vectors; ++j) {
      const std::int64_t at = column + j * kLanes;
      const std::int64_t left = block.n - at;
      if (left <= 0) break;
      const Vector sum = sums[i][j] * alpha;
      float* to = c + j * kLanes;
      if (left >= kLanes) {
        Vector start = from ? load(from + j * kLanes) : Vector{};
        if (block.bias) start += load(block.bias + at);
        store(to, start + sum);
      } else {
        Vector start = from ? load_part(from + j * kLanes, left) : Vector{};
        if (block.bias) start += load_part(block.bias + at, left);
        store_part(to, start + sum, left);
      }
    }
  }
}

template <int Rows, int Vectors>
void tile(const GemmBlock& block, std::int64_t row, std::int64_t column) {
  Vector sums[Rows][Vectors] = {};
  for (const BlockProduct& product : block.products) {
    if (product.k == 0) break;
    const float* panel = product.panels + column / kPanel * product.panel_stride;
    if (product.left.k_stride == 1) {
      multiply<Rows, Vectors, false>(product, row, panel, sums);
    } else {
      multiply<Rows, Vectors, true>(product, row, panel, sums);
    }
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

// Columns of a weight that few_rows takes at once: chains enough to hide the latency of one row's additions,
// and no more rows of the weight than memory streams well (32 took a third longer than 16, bench_step
// --decode).
constexpr int kColumnGroups = kLanes == 16 ? 1 : 2;
// What it asks memory for ahead, the columns after these, comes in pieces of so many lines of a row: memory
// gives neighbouring lines faster than as many of different rows. A square asks for its share, a line with
// each load.
constexpr int kLine = 16, kPieceLines = 4, kPiece = kPieceLines * kLine;
constexpr int kSharePieces = kLanes * kLanes / kPiece;  // with 4 lanes nothing is asked for

/// Prefetches line `i` of the share of a square at depth `k`, among the columns that `ahead` begins with.
FINETUNED_INLINE void ask_ahead(const RightOperand& ahead, std::int64_t k, int i) {
  const std::int64_t row = kSharePieces * (k / kLanes % (kPiece / kLanes)) + i / kPieceLines;
  __builtin_prefetch(ahead.data + row * ahead.stride + k / kPiece * kPiece + kLine * (i % kPieceLines), 0, 2);
}

/// Where the kLanes columns from `column` on begin, at depth `k`. Lanes beyond the end, where there are not
/// that many (not Whole), repeat the last column.
template <bool Whole>
struct Columns {
  const float* first;
  std::int64_t stride, last;

  Columns(const RightOperand& right, std::int64_t column, std::int64_t end, std::int64_t k)
      : first(right.data + column * right.stride + k), stride(right.stride), last(end - 1 - column) {}
  const float* at(int i) const { return first + (Whole || i < last ? i : last) * stride; }
};

/// sums += left times kLanes columns of `right`, for the depths [k, k + kLanes): a square of the weight,
/// turned in registers, so that each lane's chain is in the order of k.
template <int Rows, bool Whole>
FINETUNED_INLINE void multiply_square(const LeftOperand& left, const RightOperand& right,
                                      const RightOperand& ahead, std::int64_t column, std::int64_t end,
                                      std::int64_t k, Vector (&sums)[Rows]) {
  const Columns<Whole> columns(right, column, end, k);
  Vector square[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    square[i] = load(columns.at(i));
    if (i < kSharePieces * kPieceLines) ask_ahead(ahead, k, i);
  }
  transpose_blocks<1>(square);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    for (int row = 0; row < Rows; ++row)
      sums[row] += broadcast(left.data[row * left.row_stride + k + i]) * square[i];
}

template <int Rows, bool Whole>
void multiply_rest(const LeftOperand& left, const RightOperand& right, std::int64_t column, std::int64_t end,
                   std::int64_t k, std::int64_t depth, Vector (&sums)[Rows]) {
  for (; k < depth; ++k) {
    const Columns<Whole> columns(right, column, end, k);
    Vector weights;
    for (int i = 0; i < kLanes; ++i)
      weights[i] = *columns.at(i);
    for (int row = 0; row < Rows; ++row)
      sums[row] += broadcast(left.data[row * left.row_stride + k]) * weights;
  }
}

template <int Rows, bool Whole>
void few_rows_columns(const FewRows& block, std::int64_t column) {
  Vector sums[kColumnGroups][Rows] = {};
  for (int p = 0; p < kMostProducts && block.k[p] > 0; ++p) {
    const LeftOperand& left = block.left[p];
    const RightOperand& right = block.right[p];
    const std::int64_t next = column + kColumnGroups * kLanes;
    const RightOperand ahead = next < block.end
                                   ? RightOperand{right.data + next * right.stride, right.stride, true}
                                   : block.ahead[p];
    const std::int64_t whole = block.k[p] / kLanes * kLanes;
    for (std::int64_t k = 0; k < whole; k += kLanes)
      for (int group = 0; group < kColumnGroups; ++group)
        multiply_square<Rows, Whole>(left, right, ahead, column + group * kLanes, block.end, k, sums[group]);
    for (int group = 0; group < kColumnGroups; ++group)
      multiply_rest<Rows, Whole>(left, right, column + group * kLanes, block.end, whole, block.k[p],
                                 sums[group]);
  }
  GemmBlock to;
  to.n = block.end;
  to.c = block.c;
  to.c_stride = block.c_stride;
  to.start = block.start;
  to.alpha = block.alpha;
  to.bias = block.bias;
  for (int group = 0; group < kColumnGroups && column + group * kLanes < block.end; ++group) {
    Vector one[Rows][1];
    for (int row = 0; row < Rows; ++row)
      one[row][0] = sums[group][row];
    write<Rows, 1>(to, 0, column + group * kLanes, one);
  }
}

template <int Rows>
void few_rows_of(const FewRows& block) {
  if constexpr (Rows > 0) {
    if (block.m != Rows) return few_rows_of<Rows - 1>(block);
    constexpr std::int64_t kStep = kColumnGroups * kLanes;
    std::int64_t column = block.begin;
    for (; column + kStep <= block.end; column += kStep)
      few_rows_columns<Rows, true>(block, column);
    if (column < block.end) few_rows_columns<Rows, false>(block, column);
  }
}

/// Of two vectors that hold sums' parts in groups of Width lanes, the groups' halves added: a's groups, then
/// b's.
template <int Width, int... Lane>
FINETUNED_INLINE Vector fold(Vector a, Vector b, std::integer_sequence<int, Lane...>) {
  constexpr int kHalf = Width / 2, kGroups = kLanes / Width;
  constexpr auto from = [](int lane) {
    const int group = lane / kHalf, place = lane % kHalf;
    return group < kGroups ? group * Width + place : kLanes + (group - kGroups) * Width + place;
  };
  return __builtin_shufflevector(a, b, from(Lane)...) +
         __builtin_shufflevector(a, b, (from(Lane) + kHalf)...);
}

/// Count vectors folded into one: the sum of vector i lies in the lanes [i Width / Count, (i + 1) Width /
/// Count).
template <int Width, int Count>
FINETUNED_INLINE Vector fold_all(const Vector (&parts)[Count]) {
  if constexpr (Count == 1) {
    return parts[0];
  } else {
    Vector halves[Count / 2];
#pragma GCC unroll 8
    for (int i = 0; i < Count / 2; ++i)
      halves[i] = fold<Width>(parts[2 * i], parts[2 * i + 1], std::make_integer_sequence<int, kLanes>());
    return fold_all<Width / 2, Count / 2>(halves);
  }
}

constexpr int kProjectRows = 3, kProjectRanks = kLanes == 16 ? 8 : 4;  // 24 of 32 accumulators, or 12 of 16

template <int Rows>
void project_tile(const LowRankProject& block, std::int64_t row, std::int64_t rank) {
  Vector sums[Rows][kProjectRanks] = {};
  const float* x = block.x + row * block.x_stride;
  const float* a[kProjectRanks];
  for (int j = 0; j < kProjectRanks; ++j)
    a[j] = block.a + (rank + j < block.rank ? rank + j : block.rank - 1) * block.k;
  const auto add = [&](std::int64_t k, const auto& get) {
    Vector of_row[Rows];
#pragma GCC unroll 3
    for (int i = 0; i < Rows; ++i)
      of_row[i] = get(x + i * block.x_stride + k);
#pragma GCC unroll 8
    for (int j = 0; j < kProjectRanks; ++j) {
      const Vector weights = get(a[j] + k);
#pragma GCC unroll 3
      for (int i = 0; i < Rows; ++i)
        sums[i][j] += of_row[i] * weights;
    }
  };
  std::int64_t k = 0;
  for (; k + kLanes <= block.k; k += kLanes)
    add(k, [](const float* from) { return load(from); });
  if (k < block.k) add(k, [rest = block.k - k](const float* from) { return load_part(from, rest); });
  for (int i = 0; i < Rows; ++i) {
    float lanes[kLanes];
    store(lanes, fold_all<kLanes, kProjectRanks>(sums[i]));
    constexpr int kWidth = kLanes / kProjectRanks;
    for (int j = 0; j < kProjectRanks && rank + j < block.rank; ++j) {
      float total = lanes[j * kWidth];
      for (int lane = 1; lane < kWidth; ++lane)
        total += lanes[j * kWidth + lane];
      block.out[(row + i) * block.out_stride + rank + j] = block.alpha * total;
    }
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

void few_rows(const FewRows& block) {
  few_rows_of<kMostFewRows>(block);
}

void low_rank_project(const LowRankProject& block) {
  for (std::int64_t row = 0; row < block.rows; row += kProjectRows)
    for (std::int64_t rank = 0; rank < block.rank; rank += kProjectRanks) {
      if (block.rows - row >= 3) {
        project_tile<3>(block, row, rank);
      } else if (block.rows - row == 2) {
        project_tile<2>(block, row, rank);
      } else {
        project_tile<1>(block, row, rank);
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
