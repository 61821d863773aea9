#include "trainer/kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "base/expects.h"
#include "trainer/kernels/cpu/tiles.h"

namespace finetuned::kernels {

namespace {

constexpr std::int64_t kTileOfRows = 48;
constexpr std::int64_t kGroupOfRows = 5 * kTileOfRows;  // of the second pass
constexpr std::int64_t kMostColumns = 480;
constexpr std::int64_t kCachedFloats = 192
                                       << 10;  // of a chunk's two packed forms that a core's own cache keeps
constexpr std::int64_t kRowsWorthPacking = 192;  // for so many rows a thread packs every chunk by itself
constexpr std::int64_t kScratchFloats = tensor::Cpu::kScratchBytes / sizeof(float);
constexpr std::int64_t kSharedFloats = tensor::Cpu::kSharedBytes / sizeof(float);

struct RowState {
  SoftmaxRow softmax;
  float target_logit = 0;
};
static_assert(sizeof(RowState) == kHeadLossState * sizeof(float));

std::int64_t round_up(std::int64_t count, std::int64_t to) {
  return (count + to - 1) / to * to;
}

class HeadPass {
 public:
  HeadPass(const tensor::Cpu& device, const HeadLoss& shape, const float* hidden, const float* weight,
           const std::int32_t* targets, float* state)
      : device_(device),
        tile_(tiles(device.isa())),
        shape_(shape),
        hidden_(hidden),
        weight_(weight),
        targets_(targets),
        rows_(reinterpret_cast<RowState*>(state)),
        padded_hidden_(round_up(shape.hidden_size, tile_.panel_width)) {
    // The chunk depends on the model alone, so that sums are made in the same order for every batch.
    const std::int64_t fit = (kSharedFloats / 2 / padded_hidden_ - kGroupOfRows / 2) / 48 * 48;
    columns_ = std::min(
        {kMostColumns, fit, std::max<std::int64_t>(48, kCachedFloats / 2 / padded_hidden_ / 48 * 48)});
    base::expects(columns_ >= 48, "the head's chunk fits the shared panels");
  }

  void losses_and_d_hidden(float* d_hidden);
  LossSums finish(double loss_scale, float* d_hidden);
  void d_weight(double loss_scale, float* gradient);

 private:
  /// A chunk of the weights [begin, begin + count), packed for the logits and for d_hidden.
  struct Chunk {
    std::int64_t begin = 0, count = 0;
    float *forward = nullptr, *backward = nullptr;
  };
  Chunk chunk_at(std::int64_t begin, float* memory) const;
  std::int64_t panels_of(const Chunk& chunk, bool backward) const;
  void pack_panel(const Chunk& chunk, std::int64_t panel) const;
  void pack_together(const Chunk& chunk, bool backward) const;
  void meet(const Chunk& chunk, std::int64_t row, std::int64_t rows, float* logits, float* d_hidden) const;
  void rows_by_thread(float* d_hidden) const;
  void chunks_together(float* d_hidden) const;
  void logits_of(const Chunk& chunk, std::int64_t row, std::int64_t rows, float* logits) const;
  BlockProduct packed(const LeftOperand& left, const float* panels, std::int64_t k) const {
    return {left, panels, k, k * tile_.panel_width, tile_.panel_width};
  }
  std::int64_t row_tiles() const { return (shape_.rows + kTileOfRows - 1) / kTileOfRows; }

  const tensor::Cpu& device_;
  const Tiles& tile_;
  const HeadLoss& shape_;
  const float* hidden_;
  const float* weight_;
  const std::int32_t* targets_;
  RowState* rows_;
  std::int64_t padded_hidden_;
  std::int64_t columns_ = 0;
};

HeadPass::Chunk HeadPass::chunk_at(std::int64_t begin, float* memory) const {
  return {begin, std::min(columns_, shape_.vocab_size - begin), memory,
          memory + columns_ * shape_.hidden_size};
}

/// The panels of the chunk's first form and, where `backward`, those of its second behind them.
std::int64_t HeadPass::panels_of(const Chunk& chunk, bool backward) const {
  const std::int64_t width = tile_.panel_width;
  return round_up(chunk.count, width) / width + (backward ? padded_hidden_ / width : 0);
}

void HeadPass::pack_panel(const Chunk& chunk, std::int64_t panel) const {
  const std::int64_t width = tile_.panel_width, size = shape_.hidden_size, count = chunk.count;
  const float* from = weight_ + chunk.begin * size;
  const std::int64_t forward_panels = panels_of(chunk, false), at = panel * width;
  if (panel < forward_panels)
    return tile_.pack({from, size, true}, size, count, at, std::min(count, at + width),
                      chunk.forward + at * size);
  const std::int64_t column = at - forward_panels * width;
  tile_.pack({from, size, false}, count, size, column, std::min(size, column + width),
             chunk.backward + column * count);
}

void HeadPass::pack_together(const Chunk& chunk, bool backward) const {
  device_.pool().run(panels_of(chunk, backward), [&](std::int64_t panel, int) { pack_panel(chunk, panel); });
}

void HeadPass::logits_of(const Chunk& chunk, std::int64_t row, std::int64_t rows, float* logits) const {
  GemmBlock block;
  block.m = rows;
  block.n = chunk.count;
  block.products[0] =
      packed({hidden_ + row * shape_.hidden_size, shape_.hidden_size, 1}, chunk.forward, shape_.hidden_size);
  block.c = logits;
  block.c_stride = columns_;
  tile_.gemm(block);
}

/// Up to kTileOfRows rows meet a chunk: their softmax states and, where not null, their rows of d_hidden go
/// on.
void HeadPass::meet(const Chunk& chunk, std::int64_t row, std::int64_t rows, float* logits,
                    float* d_hidden) const {
  const std::int64_t size = shape_.hidden_size;
  logits_of(chunk, row, rows, logits);
  for (std::int64_t i = 0; i < rows; ++i) {
    RowState& state = rows_[row + i];
    const std::int64_t target = targets_[row + i] - chunk.begin;
    float* of_row = logits + i * columns_;
    if (target >= 0 && target < chunk.count) state.target_logit = of_row[target];
    const float rescale = tile_.softmax_chunk(of_row, chunk.count, chunk.begin, state.softmax);
    if (d_hidden && rescale != 1) tile_.scale(d_hidden + (row + i) * size, size, rescale);
  }
  if (!d_hidden) return;
  GemmBlock block;
  block.m = rows;
  block.n = size;
  block.products[0] = packed({logits, columns_, 1}, chunk.backward, chunk.count);
  block.c = d_hidden + row * size;
  block.c_stride = size;
  block.start = chunk.begin > 0 ? block.c : nullptr;
  tile_.gemm(block);
}

/// Each thread has rows of its own and packs every chunk for itself, into its own cache.
void HeadPass::rows_by_thread(float* d_hidden) const {
  const std::int64_t threads = device_.pool().threads();
  const std::int64_t step = round_up((shape_.rows + threads - 1) / threads, kTileOfRows);
  device_.pool().run((shape_.rows + step - 1) / step, [&](std::int64_t task, int thread) {
    const std::int64_t first = task * step, last = std::min(shape_.rows, first + step);
    float* logits = device_.scratch(thread);
    for (std::int64_t begin = 0; begin < shape_.vocab_size; begin += columns_) {
      const Chunk chunk = chunk_at(begin, logits + kTileOfRows * columns_);
      for (std::int64_t panel = 0; panel < panels_of(chunk, d_hidden != nullptr); ++panel)
        pack_panel(chunk, panel);
      for (std::int64_t row = first; row < last; row += kTileOfRows)
        meet(chunk, row, std::min(kTileOfRows, last - row), logits, d_hidden);
    }
  });
}

/// Few rows a thread: all threads pack a chunk into the shared memory, then share out the rows.
void HeadPass::chunks_together(float* d_hidden) const {
  for (std::int64_t begin = 0; begin < shape_.vocab_size; begin += columns_) {
    const Chunk chunk = chunk_at(begin, device_.shared());
    pack_together(chunk, d_hidden != nullptr);
    device_.pool().run(row_tiles(), [&](std::int64_t task, int thread) {
      const std::int64_t row = task * kTileOfRows;
      meet(chunk, row, std::min(kTileOfRows, shape_.rows - row), device_.scratch(thread), d_hidden);
    });
  }
}

/// Both ways give a row the same bits.
void HeadPass::losses_and_d_hidden(float* d_hidden) {
  std::fill_n(rows_, shape_.rows, RowState{});
  const bool fits = columns_ * (shape_.hidden_size + padded_hidden_ + kTileOfRows) <= kScratchFloats;
  if (fits && shape_.rows >= kRowsWorthPacking * device_.pool().threads()) {
    rows_by_thread(d_hidden);
  } else {
    chunks_together(d_hidden);
  }
}

LossSums HeadPass::finish(double loss_scale, float* d_hidden) {
  LossSums sums;
  sums.supervised = shape_.rows;
  for (std::int64_t row = 0; row < shape_.rows; ++row) {
    const RowState& state = rows_[row];
    sums.loss += static_cast<double>(state.softmax.maximum) - state.target_logit +
                 std::log(static_cast<double>(state.softmax.sum));
    sums.correct += state.softmax.best == targets_[row];
  }
  if (!d_hidden) return sums;
  const std::int64_t size = shape_.hidden_size;
  device_.pool().run(row_tiles(), [&](std::int64_t task, int) {
    const std::int64_t end = std::min(shape_.rows, (task + 1) * kTileOfRows);
    for (std::int64_t row = task * kTileOfRows; row < end; ++row) {
      float* d = d_hidden + row * size;
      tile_.scale(d, size, static_cast<float>(loss_scale / rows_[row].softmax.sum));
      tile_.add_scaled(d, weight_ + targets_[row] * size, static_cast<float>(-loss_scale), size);
    }
  });
  return sums;
}

/// Logits once more, now with the softmax known: groups of rows become a tile of probabilities, whose product
/// with the rows' hidden states is added to the chunk's gradient.
void HeadPass::d_weight(double loss_scale, float* gradient) {
  const std::int64_t size = shape_.hidden_size, width = tile_.panel_width;
  float* hidden_panels = device_.shared() + columns_ * size;
  float* probabilities = hidden_panels + kGroupOfRows * padded_hidden_;
  for (std::int64_t begin = 0; begin < shape_.vocab_size; begin += columns_) {
    const Chunk chunk = chunk_at(begin, device_.shared());
    const std::int64_t count = chunk.count;
    pack_together(chunk, false);
    for (std::int64_t group = 0; group < shape_.rows; group += kGroupOfRows) {
      const std::int64_t in_group = std::min(kGroupOfRows, shape_.rows - group);
      const std::int64_t tiles_in_group = (in_group + kTileOfRows - 1) / kTileOfRows;
      device_.pool().run(tiles_in_group + padded_hidden_ / width, [&](std::int64_t task, int) {
        if (task >= tiles_in_group) {
          const std::int64_t at = (task - tiles_in_group) * width;
          tile_.pack({hidden_ + group * size, size, false}, in_group, size, at, std::min(size, at + width),
                     hidden_panels + at * in_group);
          return;
        }
        const std::int64_t first = task * kTileOfRows, rows = std::min(kTileOfRows, in_group - first);
        float* of_row = probabilities + first * columns_;
        logits_of(chunk, group + first, rows, of_row);
        for (std::int64_t i = 0; i < rows; ++i, of_row += columns_) {
          const RowState& state = rows_[group + first + i];
          tile_.exp_shifted(of_row, count, state.softmax.maximum,
                            static_cast<float>(loss_scale / state.softmax.sum));
          const std::int64_t target = targets_[group + first + i] - begin;
          if (target >= 0 && target < count) of_row[target] -= static_cast<float>(loss_scale);
        }
      });
      device_.pool().run((count + kTileOfRows - 1) / kTileOfRows, [&](std::int64_t task, int) {
        const std::int64_t first = task * kTileOfRows;
        GemmBlock block;
        block.m = std::min(kTileOfRows, count - first);
        block.n = size;
        block.products[0] = packed({probabilities + first, 1, columns_}, hidden_panels, in_group);
        block.c = gradient + (begin + first) * size;
        block.c_stride = size;
        block.start = block.c;
        tile_.gemm(block);
      });
    }
  }
}

}  // namespace

PendingLoss begin_head_loss(const tensor::Cpu& device, const HeadLoss& shape, const float* hidden, const float* weight,
                            const std::int32_t* targets, double loss_scale, float* d_hidden, float* d_weight,
                            float* state) {
  const double weights = static_cast<double>(shape.vocab_size * shape.hidden_size);
  const double passes = 1 + (d_hidden ? 1 : 0) + (d_weight ? 2 : 0);
  const tensor::KernelTimer timer(device.profile(), "head loss",
                                  2 * passes * weights * static_cast<double>(shape.rows),
                                  4 * weights * (d_weight ? 3 : 1));
  HeadPass pass(device, shape, hidden, weight, targets, state);
  pass.losses_and_d_hidden(d_hidden);
  const LossSums sums = pass.finish(loss_scale, d_hidden);
  if (d_weight) pass.d_weight(loss_scale, d_weight);
  return {sums, {}};
}

}  // namespace finetuned::kernels
