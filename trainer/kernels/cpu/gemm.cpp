#include "trainer/kernels/gemm.h"

#include <algorithm>

#include "base/expects.h"
#include "trainer/kernels/cpu/tiles.h"

namespace finetuned::kernels {

namespace {

constexpr std::int64_t kRowsPerBlock = 48;
constexpr std::int64_t kSharedFloats = tensor::Cpu::kSharedBytes / sizeof(float);
constexpr std::int64_t kScratchFloats = tensor::Cpu::kScratchBytes / sizeof(float);
constexpr std::int64_t kCachedFloats = kScratchFloats / 8;
constexpr std::int64_t kMostDepth = 65536;  // whose panel of any width fits the shared memory
static_assert(kMostDepth * 48 <= kSharedFloats);

std::int64_t blocks_of(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

/// Columns [begin, end) of the product: their panels are packed into the device's shared memory, then every
/// block of rows and columns is a task.
void gemm_columns(const tensor::Cpu& device, const Tiles& tile, const Gemm<float>& g, std::int64_t begin,
                  std::int64_t end) {
  const std::int64_t columns = end - begin;
  const std::int64_t panels = blocks_of(columns, tile.panel_width);
  float* first = device.shared();
  float* second = first + panels * tile.panel_width * g.k;
  const RightOperand right{g.right.data, g.right.stride, g.right.transposed};
  const RightOperand right2{g.right2.data, g.right2.stride, g.right2.transposed};
  // `at` and `at2`: where the panels of the two products go, or lie, from `from_panel` on.
  const auto pack = [&](std::int64_t from_panel, std::int64_t to_panel, float* at, float* at2) {
    const std::int64_t from = begin + from_panel * tile.panel_width;
    const std::int64_t to = std::min(end, begin + to_panel * tile.panel_width);
    tile.pack(right, g.k, g.n, from, to, at);
    if (g.k2 > 0) tile.pack(right2, g.k2, g.n, from, to, at2);
  };
  const auto compute = [&](std::int64_t row, std::int64_t from_panel, std::int64_t to_panel, const float* at,
                           const float* at2) {
    const std::int64_t from = from_panel * tile.panel_width;
    GemmBlock block;
    block.m = std::min(kRowsPerBlock, g.m - row);
    block.n = std::min(columns, to_panel * tile.panel_width) - from;
    block.first = {{g.left.data + row * g.left.row_stride, g.left.row_stride, g.left.k_stride}, at, g.k};
    if (g.k2 > 0) {
      block.second = {
          {g.left2.data + row * g.left2.row_stride, g.left2.row_stride, g.left2.k_stride}, at2, g.k2};
    }
    block.c = g.c + row * g.c_stride + begin + from;
    block.c_stride = g.c_stride;
    block.accumulate = g.accumulate;
    block.alpha = g.alpha;
    block.bias = g.bias ? g.bias + begin + from : nullptr;
    tile.gemm(block);
  };

  const std::int64_t row_blocks = blocks_of(g.m, kRowsPerBlock);
  const std::int64_t panel_floats = tile.panel_width * (g.k + g.k2);
  if (row_blocks == 1 &&
      panel_floats <= kScratchFloats) {  // what a task alone reads stays in its core's cache
    const std::int64_t cached =
        std::max<std::int64_t>(1, kCachedFloats / std::max<std::int64_t>(1, panel_floats));
    const std::int64_t step = std::clamp<std::int64_t>(panels / (4 * device.pool().threads()), 1, cached);
    device.pool().run(blocks_of(panels, step), [&](std::int64_t task, int thread) {
      const std::int64_t from = task * step, to = std::min(panels, from + step);
      float* at = device.scratch(thread);
      float* at2 = at + (to - from) * tile.panel_width * g.k;
      pack(from, to, at, at2);
      compute(0, from, to, at, at2);
    });
    return;
  }
  const auto first_of = [&](std::int64_t panel) { return first + panel * tile.panel_width * g.k; };
  const auto second_of = [&](std::int64_t panel) { return second + panel * tile.panel_width * g.k2; };
  device.pool().run(blocks_of(panels, 2), [&](std::int64_t task, int) {
    pack(task * 2, std::min(panels, task * 2 + 2), first_of(task * 2), second_of(task * 2));
  });
  // Enough tasks for the threads to end together; how the columns are cut changes no bits.
  const std::int64_t wanted = 8 * device.pool().threads();
  const std::int64_t cuts = std::clamp<std::int64_t>(blocks_of(wanted, row_blocks), 1, panels);
  const std::int64_t step = blocks_of(panels, cuts);
  const std::int64_t column_blocks = blocks_of(panels, step);
  device.pool().run(row_blocks * column_blocks, [&](std::int64_t task, int) {
    const std::int64_t from = task / row_blocks * step;
    compute(task % row_blocks * kRowsPerBlock, from, std::min(panels, from + step), first_of(from),
            second_of(from));
  });
}

/// A product too deep for the shared panels, as a sum of shallower ones: of `left right` first, then with
/// what is left of it the second product. Where it is cut depends on the depths alone.
void gemm_by_depth(const tensor::Cpu& device, const Gemm<float>& g) {
  Gemm<float> rest = g;
  while (rest.k + rest.k2 > kMostDepth) {
    base::expects(rest.k > 0, "the second product is a shallow one");
    Gemm<float> part = rest;
    part.k = std::min(rest.k, kMostDepth);
    part.k2 = 0;
    gemm(device, part);
    rest.k -= part.k;
    rest.left.data += part.k * rest.left.k_stride;
    rest.right.data += rest.right.transposed ? part.k : part.k * rest.right.stride;
    rest.accumulate = true;
    rest.bias = nullptr;
  }
  if (rest.k + rest.k2 > 0) gemm(device, rest);
}

}  // namespace

void gemm(const tensor::Cpu& device, const Gemm<float>& g) {
  if (g.m == 0 || g.n == 0) return;
  if (g.k + g.k2 > kMostDepth) return gemm_by_depth(device, g);
  const Tiles& tile = tiles(device.isa());
  const std::int64_t panel_floats = (g.k + g.k2) * tile.panel_width;
  const std::int64_t panels = panel_floats == 0 ? 1 : kSharedFloats / panel_floats;
  base::expects(panels >= 1, "a gemm's depth fits the shared panels");
  const std::int64_t step = panels * tile.panel_width;
  for (std::int64_t begin = 0; begin < g.n; begin += step)
    gemm_columns(device, tile, g, begin, std::min(g.n, begin + step));
}

}  // namespace finetuned::kernels
