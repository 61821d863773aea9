// Kernels that treat rows or elements one by one: blocks of them are handed to the threads.

#include <algorithm>

#include "trainer/kernels/cpu/tiles.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/dropout_math.h"
#include "trainer/kernels/embedding.h"
#include "trainer/kernels/reduce.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/swiglu.h"

namespace finetuned::kernels {

namespace {

/// Calls work(begin, end) for blocks of [0, count) that hold about 16 Ki elements of rows of `size`.
template <class Work>
void over_rows(const tensor::Cpu& device, std::int64_t count, std::int64_t size, const Work& work) {
  const std::int64_t step = std::max<std::int64_t>(1, (16 << 10) / std::max<std::int64_t>(1, size));
  device.pool().run((count + step - 1) / step, [&](std::int64_t block, int) {
    work(block * step, std::min(count, (block + 1) * step));
  });
}

constexpr std::int64_t kColumns = 64;

using tensor::KernelTimer;

double elements(const RmsNorm& shape) {
  return static_cast<double>(shape.rows * shape.size);
}
double elements(const Rope& shape) {
  return static_cast<double>(shape.tokens * shape.heads * shape.head_dim);
}

}  // namespace

void rmsnorm(const tensor::Cpu& device, const RmsNorm& shape, const float* x, const float* weight, float* y,
             float* rstd) {
  const KernelTimer timer(device.profile(), "rmsnorm", 4.0 * elements(shape), 8.0 * elements(shape));
  const Tiles& tile = tiles(device.isa());
  over_rows(device, shape.rows, shape.size, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t at = begin * shape.size;
    tile.rmsnorm(x + at, weight, end - begin, shape.size, shape.size, static_cast<float>(shape.eps), y + at,
                 rstd + begin);
  });
}

void rmsnorm_apply(const tensor::Cpu& device, const RmsNorm& shape, const float* x, const float* weight,
                   const float* rstd, float* y) {
  const KernelTimer timer(device.profile(), "rmsnorm", 2.0 * elements(shape), 8.0 * elements(shape));
  const Tiles& tile = tiles(device.isa());
  over_rows(device, shape.rows, shape.size, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t at = begin * shape.size;
    tile.rmsnorm_apply(x + at, weight, rstd + begin, end - begin, shape.size, shape.size, y + at);
  });
}

void rmsnorm_backward(const tensor::Cpu& device, const RmsNorm& shape, const float* dy, const float* x,
                      const float* weight, const float* rstd, bool add, float* dx, float* d_weight) {
  const KernelTimer timer(device.profile(), "rmsnorm backward", 8.0 * elements(shape),
                          12.0 * elements(shape));
  const Tiles& tile = tiles(device.isa());
  if (d_weight) {
    device.pool().run((shape.size + kColumns - 1) / kColumns, [&](std::int64_t block, int) {
      const std::int64_t begin = block * kColumns, end = std::min(shape.size, begin + kColumns);
      for (std::int64_t row = 0; row < shape.rows; ++row) {
        const std::int64_t at = row * shape.size;
        for (std::int64_t i = begin; i < end; ++i)
          d_weight[i] += dy[at + i] * x[at + i] * rstd[row];
      }
    });
  }
  over_rows(device, shape.rows, shape.size, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t at = begin * shape.size;
    tile.rmsnorm_backward(dy + at, x + at, weight, rstd + begin, end - begin, shape.size, shape.size, add,
                          dx + at);
  });
}

void rope(const tensor::Cpu& device, const Rope& shape, const float* cosines, const float* sines,
          const std::int32_t* positions, float* x) {
  const KernelTimer timer(device.profile(), "rope", 3.0 * elements(shape), 8.0 * elements(shape));
  const Tiles& tile = tiles(device.isa());
  const std::int64_t row = shape.heads * shape.head_dim, half = shape.head_dim / 2;
  over_rows(device, shape.tokens, row, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t token = begin; token < end; ++token) {
      const std::int64_t angle = positions[token] * half;
      tile.rotate(x + token * row, cosines + angle, sines + angle, shape.heads, half,
                  shape.backward ? -1.0f : 1.0f);
    }
  });
}

void swiglu(const tensor::Cpu& device, const float* gate, const float* up, std::int64_t count, float* out) {
  const KernelTimer timer(device.profile(), "swiglu", 5.0 * static_cast<double>(count),
                          12.0 * static_cast<double>(count));
  const Tiles& tile = tiles(device.isa());
  over_rows(device, count, 1, [&](std::int64_t begin, std::int64_t end) {
    tile.swiglu(gate + begin, up + begin, end - begin, out + begin);
  });
}

void swiglu_backward(const tensor::Cpu& device, const float* d_out, float* gate, float* up,
                     std::int64_t count) {
  const KernelTimer timer(device.profile(), "swiglu backward", 12.0 * static_cast<double>(count),
                          20.0 * static_cast<double>(count));
  const Tiles& tile = tiles(device.isa());
  over_rows(device, count, 1, [&](std::int64_t begin, std::int64_t end) {
    tile.swiglu_backward(d_out + begin, gate + begin, up + begin, end - begin);
  });
}

void gather_rows(const tensor::Cpu& device, const float* table, const std::int32_t* ids, std::int64_t rows,
                 std::int64_t size, float* out) {
  const KernelTimer timer(device.profile(), "gather", 0, 8.0 * static_cast<double>(rows * size));
  over_rows(device, rows, size, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      device.copy(out + i * size, table + ids[i] * size, size);
  });
}

void scatter_rows(const tensor::Cpu& device, const float* from, const std::int32_t* ids, std::int64_t rows,
                  std::int64_t size, float* table) {
  const KernelTimer timer(device.profile(), "scatter", 0, 8.0 * static_cast<double>(rows * size));
  over_rows(device, rows, size, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      device.copy(table + ids[i] * size, from + i * size, size);
  });
}

void scatter_add_rows(const tensor::Cpu& device, const float* from, const std::int32_t* ids,
                      std::int64_t rows, std::int64_t size, float* table) {
  const KernelTimer timer(device.profile(), "scatter add", static_cast<double>(rows * size),
                          12.0 * static_cast<double>(rows * size));
  // Threads share columns, not rows: equal ids then add up in the order of i.
  const Tiles& tile = tiles(device.isa());
  device.pool().run((size + kColumns - 1) / kColumns, [&](std::int64_t block, int) {
    const std::int64_t begin = block * kColumns, count = std::min(kColumns, size - begin);
    for (std::int64_t i = 0; i < rows; ++i)
      tile.add_scaled(table + ids[i] * size + begin, from + i * size + begin, 1, count);
  });
}

void adamw(const tensor::Cpu& device, const AdamW& settings, std::int64_t step, double gradient_scale,
           float* value, const float* gradient, float* first, float* second, std::int64_t count) {
  const KernelTimer timer(device.profile(), "adamw", 16.0 * static_cast<double>(count),
                          28.0 * static_cast<double>(count));
  const Tiles& tile = tiles(device.isa());
  const AdamWFactors factors = adamw_factors(settings, step, gradient_scale);
  over_rows(device, count, 1, [&](std::int64_t begin, std::int64_t end) {
    tile.adamw(factors, value + begin, gradient + begin, first + begin, second + begin, end - begin);
  });
}

void dropout(const tensor::Cpu& device, const Dropout& shape, const float* x, bool add, float* out) {
  const KernelTimer timer(device.profile(), "dropout", static_cast<double>(shape.tokens * shape.size),
                          8.0 * static_cast<double>(shape.tokens * shape.size));
  over_rows(device, shape.tokens, shape.size, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t token = begin; token < end; ++token)
      dropout_token(shape, token, x, add, out);
  });
}

void accumulate(const tensor::Cpu& device, const float* from, bool add, std::int64_t count, float* to) {
  constexpr std::int64_t kBlock = 64 << 10;
  device.pool().run((count + kBlock - 1) / kBlock, [&](std::int64_t block, int) {
    const std::int64_t begin = block * kBlock, end = std::min(count, begin + kBlock);
    if (!add) {
      std::copy(from + begin, from + end, to + begin);
      return;
    }
    for (std::int64_t i = begin; i < end; ++i)
      to[i] = from[i] + to[i];
  });
}

double square_sum(const tensor::Cpu& device, const float* values, std::int64_t count) {
  const KernelTimer timer(device.profile(), "square sum", 2.0 * static_cast<double>(count),
                          4.0 * static_cast<double>(count));
  constexpr std::int64_t kBlock = 64 << 10;
  constexpr std::int64_t kGroup = 256;  // blocks whose sums wait together
  double total = 0;
  for (std::int64_t group = 0; group < count; group += kGroup * kBlock) {
    const std::int64_t in_group = std::min(count - group, kGroup * kBlock);
    const std::int64_t blocks = (in_group + kBlock - 1) / kBlock;
    double sums[kGroup];
    device.pool().run(blocks, [&](std::int64_t block, int) {
      const float* from = values + group + block * kBlock;
      const std::int64_t size = std::min(kBlock, in_group - block * kBlock);
      double lanes[4] = {};
      for (std::int64_t i = 0; i < size; ++i)
        lanes[i % 4] += static_cast<double>(from[i]) * from[i];
      sums[block] = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    });
    for (std::int64_t block = 0; block < blocks; ++block)
      total += sums[block];
  }
  return total;
}

void add_column_sums(const tensor::Cpu& device, const float* from, std::int64_t rows, std::int64_t columns,
                     float* to) {
  const KernelTimer timer(device.profile(), "column sums", static_cast<double>(rows * columns),
                          4.0 * static_cast<double>(rows * columns));
  const Tiles& tile = tiles(device.isa());
  device.pool().run((columns + kColumns - 1) / kColumns, [&](std::int64_t block, int) {
    const std::int64_t begin = block * kColumns, count = std::min(kColumns, columns - begin);
    for (std::int64_t row = 0; row < rows; ++row)
      tile.add_scaled(to + begin, from + row * columns + begin, 1, count);
  });
}

}  // namespace finetuned::kernels
