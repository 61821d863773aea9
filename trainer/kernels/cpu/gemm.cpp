#include "trainer/kernels/gemm.h"

#include <algorithm>
#include <limits>

#include "base/expects.h"
#include "trainer/kernels/cpu/tiles.h"

namespace finetuned::kernels {

namespace {

constexpr std::int64_t kRowsPerBlock = 48;
constexpr std::int64_t kScratchFloats = tensor::Cpu::kScratchBytes / sizeof(float);
constexpr std::int64_t kCachedFloats = kScratchFloats / 4;  // of panels that a core's own cache keeps
constexpr std::int64_t kMostDepth = 8192;
static_assert(kMostDepth * 48 <= kScratchFloats, "a panel of any width fits a thread's scratch");
constexpr std::size_t kMostInGroup = 8;
constexpr std::int64_t kTasksPerThread = 8;  // enough for the threads to end together

std::int64_t blocks_of(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

std::int64_t depth_of(const Gemm<float>& g) {
  std::int64_t depth = 0;
  for (const Product<float>& product : g.products)
    depth += product.k;
  return depth;
}

RightOperand operand(const Right<float>& right) {
  return {right.data, right.stride, right.transposed};
}
LeftOperand operand(const Left<float>& left) {
  return {left.data, left.row_stride, left.k_stride};
}

/// How one product of a group is cut into tasks: blocks of columns, times blocks of rows. The cut changes no
/// bits.
struct Cut {
  enum class Way {
    kPacked,  ///< the block's columns are packed into the thread's scratch, then met by the rows
    kDirect,  ///< so few rows that a row-major right operand is read where it lies
    kFewRows  ///< the same for a transposed one
  };
  const Gemm<float>* g = nullptr;
  Way way = Way::kPacked;
  std::int64_t column_step = 0, column_blocks = 0;
  std::int64_t row_step = 0, row_blocks = 1;
  std::int64_t first_task = 0;

  std::int64_t tasks() const { return column_blocks * row_blocks; }
};

Cut::Way way_of(const Tiles& tile, const Gemm<float>& g) {
  bool transposed = true, plain = true, rows_apart = true;
  for (const Product<float>& product : g.products) {
    if (product.k == 0) break;
    transposed &= product.right.transposed;
    plain &= !product.right.transposed;
    rows_apart &= product.left.k_stride == 1;
  }
  if (transposed && rows_apart && g.m <= kMostFewRows) return Cut::Way::kFewRows;
  if (plain && g.m <= 2 * tile.tile_rows && g.n % tile.lanes == 0) return Cut::Way::kDirect;
  return Cut::Way::kPacked;
}

/// `group_panels`: of the whole group, which its tasks share out among the threads.
Cut cut(const Tiles& tile, const Gemm<float>& g, std::int64_t group_panels, int threads) {
  Cut result;
  result.g = &g;
  result.way = way_of(tile, g);
  const std::int64_t width = tile.panel_width, panels = blocks_of(g.n, width),
                     wanted = threads * kTasksPerThread;
  std::int64_t step = std::max<std::int64_t>(1, group_panels / wanted);
  if (result.way == Cut::Way::kPacked)
    step = std::min(
        step, std::max<std::int64_t>(1, kCachedFloats / std::max<std::int64_t>(1, depth_of(g) * width)));
  result.column_step = step * width;
  if (result.way == Cut::Way::kFewRows) result.column_step = blocks_of(result.column_step, 32) * 32;
  result.column_blocks = blocks_of(g.n, result.column_step);
  result.row_step = g.m;
  const std::int64_t group_blocks = blocks_of(group_panels, std::clamp<std::int64_t>(panels, 1, step));
  if (result.way == Cut::Way::kPacked && group_blocks < wanted / 2) {
    const std::int64_t rows = blocks_of(g.m, blocks_of(wanted / 2, group_blocks));
    result.row_step = std::max<std::int64_t>(2, blocks_of(rows, kRowsPerBlock)) * kRowsPerBlock;
    result.row_blocks = blocks_of(g.m, result.row_step);
  }
  return result;
}

/// Columns [begin, end) of g, for the rows [first_row, last_row).
void packed_task(const Tiles& tile, const Gemm<float>& g, std::int64_t begin, std::int64_t end,
                 std::int64_t first_row, std::int64_t last_row, float* panels) {
  GemmBlock block;
  block.n = end - begin;
  block.c_stride = g.c_stride;
  block.alpha = g.alpha;
  block.bias = g.bias ? g.bias + begin : nullptr;
  const std::int64_t width = tile.panel_width, count = blocks_of(end - begin, width);
  for (std::size_t p = 0; p < g.products.size() && g.products[p].k > 0; ++p) {
    const Product<float>& product = g.products[p];
    tile.pack(operand(product.right), product.k, g.n, begin, end, panels);
    block.products[p] = {{}, panels, product.k, product.k * width, width};
    panels += count * width * product.k;
  }
  for (std::int64_t row = first_row; row < last_row; row += kRowsPerBlock) {
    block.m = std::min(kRowsPerBlock, last_row - row);
    for (std::size_t p = 0; p < g.products.size() && g.products[p].k > 0; ++p) {
      block.products[p].left = operand(g.products[p].left);
      block.products[p].left.data += row * block.products[p].left.row_stride;
    }
    block.c = g.c + row * g.c_stride + begin;
    block.start = g.start ? g.start + row * g.c_stride + begin : nullptr;
    tile.gemm(block);
  }
}

void direct_task(const Tiles& tile, const Gemm<float>& g, std::int64_t begin, std::int64_t end) {
  GemmBlock block;
  block.m = g.m;
  block.n = end - begin;
  for (std::size_t p = 0; p < g.products.size() && g.products[p].k > 0; ++p) {
    const Product<float>& product = g.products[p];
    block.products[p] = {operand(product.left), product.right.data + begin, product.k, tile.panel_width,
                         product.right.stride};
  }
  block.c = g.c + begin;
  block.c_stride = g.c_stride;
  block.start = g.start ? g.start + begin : nullptr;
  block.alpha = g.alpha;
  block.bias = g.bias ? g.bias + begin : nullptr;
  tile.gemm(block);
}

/// Columns [begin, end) of g; those of `next` from `ahead` on are met after them.
void few_rows_task(const Tiles& tile, const Gemm<float>& g, std::int64_t begin, std::int64_t end,
                   const Gemm<float>& next, std::int64_t ahead) {
  FewRows block;
  block.m = g.m;
  block.begin = begin;
  block.end = end;
  for (std::size_t p = 0; p < g.products.size() && g.products[p].k > 0; ++p) {
    block.left[p] = operand(g.products[p].left);
    block.right[p] = operand(g.products[p].right);
    block.ahead[p] = operand(next.products[p].right);
    block.ahead[p].data += ahead * block.ahead[p].stride;
    block.k[p] = g.products[p].k;
  }
  block.c = g.c;
  block.c_stride = g.c_stride;
  block.start = g.start;
  block.alpha = g.alpha;
  block.bias = g.bias;
  tile.few_rows(block);
}

/// The cuts of a group and their tasks, numbered through.
struct Tasks {
  std::array<Cut, kMostInGroup> cuts;
  std::size_t count = 0;
  std::int64_t total = 0;

  const Cut& of(std::int64_t task) const {
    std::size_t at = count - 1;
    while (cuts[at].first_task > task)
      --at;
    return cuts[at];
  }
};

void run_task(const Tiles& tile, const Tasks& tasks, std::int64_t number, float* scratch) {
  const Cut& cut = tasks.of(number);
  const Gemm<float>& g = *cut.g;
  const std::int64_t task = number - cut.first_task, begin = task / cut.row_blocks * cut.column_step,
                     end = std::min(g.n, begin + cut.column_step), row = task % cut.row_blocks * cut.row_step;
  switch (cut.way) {
    case Cut::Way::kPacked:
      return packed_task(tile, g, begin, end, row, std::min(g.m, row + cut.row_step), scratch);
    case Cut::Way::kDirect:
      return direct_task(tile, g, begin, end);
    case Cut::Way::kFewRows:
      if (end < g.n) return few_rows_task(tile, g, begin, end, g, end);
      if (number + 1 < tasks.total) return few_rows_task(tile, g, begin, end, *tasks.of(number + 1).g, 0);
      return few_rows_task(tile, g, begin, end, g, begin);
  }
}

void run_group(const tensor::Cpu& device, std::span<const Gemm<float>> group) {
  const Tiles& tile = tiles(device.isa());
  base::expects(group.size() <= kMostInGroup, "a group of products has its bound");
  std::int64_t panels = 0;
  double flops = 0, bytes = 0;
  for (const Gemm<float>& g : group) {
    panels += blocks_of(g.n, tile.panel_width);
    const double m = static_cast<double>(g.m), n = static_cast<double>(g.n),
                 k = static_cast<double>(depth_of(g));
    flops += 2 * m * n * k;
    bytes += 4 * (m * k + k * n + m * n);
  }
  const tensor::KernelTimer timer(device.profile(), group[0].name, flops, bytes);
  Tasks tasks;
  tasks.count = group.size();
  for (std::size_t i = 0; i < group.size(); ++i) {
    Cut& one = tasks.cuts[i];
    one = cut(tile, group[i], panels, device.pool().threads());
    const bool empty = group[i].m == 0 || group[i].n == 0;
    one.first_task = empty ? std::numeric_limits<std::int64_t>::max() : tasks.total;
    if (!empty) tasks.total += one.tasks();
  }
  device.pool().run(tasks.total, [&](std::int64_t task, int thread) {
    run_task(tile, tasks, task, device.scratch(thread));
  });
}

/// A product too deep for a thread's scratch, as a sum of shallower ones.
void by_depth(const tensor::Cpu& device, const Gemm<float>& g) {
  Gemm<float> part = g;
  for (const Product<float>& whole : g.products) {
    Product<float> rest = whole;
    while (rest.k > 0) {
      part.products = {};
      part.products[0] = rest;
      part.products[0].k = std::min(rest.k, kMostDepth);
      run_group(device, {&part, 1});
      part.start = part.c;
      part.bias = nullptr;
      rest.k -= part.products[0].k;
      rest.left.data += kMostDepth * rest.left.k_stride;
      rest.right.data += rest.right.transposed ? kMostDepth : kMostDepth * rest.right.stride;
    }
  }
}

}  // namespace

void gemm(const tensor::Cpu& device, std::span<const Gemm<float>> group) {
  if (std::all_of(group.begin(), group.end(), [](const auto& g) { return depth_of(g) <= kMostDepth; }))
    return run_group(device, group);
  for (const Gemm<float>& g : group) {
    if (depth_of(g) <= kMostDepth) {
      run_group(device, {&g, 1});
    } else {
      by_depth(device, g);
    }
  }
}

}  // namespace finetuned::kernels
