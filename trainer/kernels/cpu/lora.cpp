#include "trainer/kernels/lora.h"

#include <algorithm>

#include "base/expects.h"
#include "trainer/kernels/cpu/tiles.h"
#include "trainer/kernels/gemm.h"

namespace finetuned::kernels {

namespace {

constexpr std::int64_t kTokens = 48;  // a task; a multiple of the tiles' three
constexpr std::int64_t kSharedFloats = tensor::Cpu::kSharedBytes / sizeof(float);

double flops(const Lora& shape) {
  return 2 * static_cast<double>(shape.tokens) * static_cast<double>(shape.rank) *
         static_cast<double>(shape.size);
}
double bytes(const Lora& shape) {
  const double tokens = static_cast<double>(shape.tokens), rank = static_cast<double>(shape.rank);
  const double size = static_cast<double>(shape.size);
  return 4 * (tokens * size + tokens * rank + rank * size);
}

/// Calls work(from, count) for runs of ranks whose [count, size] floats fit the device's shared memory.
template <class Work>
void by_ranks(const Lora& shape, const Work& work) {
  const std::int64_t step = kSharedFloats / shape.size;
  base::expects(step >= 1, "a row of a low-rank matrix fits the shared memory");
  for (std::int64_t from = 0; from < shape.rank; from += step)
    work(from, std::min(step, shape.rank - from));
}

/// Blocks of a [size, ...] matrix's rows, about 16 Ki floats of `width` columns each.
template <class Work>
void over_size(const tensor::Cpu& device, std::int64_t size, std::int64_t width, const Work& work) {
  const std::int64_t step = std::max<std::int64_t>(64, (16 << 10) / width);
  device.pool().run((size + step - 1) / step,
                    [&](std::int64_t block, int) { work(block * step, std::min(size, (block + 1) * step)); });
}

/// out[i] [tokens, count], rows out_stride apart, = scale x a[i]^T.
void project(const tensor::Cpu& device, const Lora& shape, std::int64_t count, const float* x,
             std::span<const float* const> a, float scale, std::span<float* const> out) {
  const Tiles& tile = tiles(device.isa());
  device.pool().run((shape.tokens + kTokens - 1) / kTokens, [&](std::int64_t block, int) {
    const std::int64_t first = block * kTokens;
    LowRankProject one;
    one.rows = std::min(kTokens, shape.tokens - first);
    one.rank = count;
    one.k = shape.size;
    one.x = x + first * shape.size;
    one.x_stride = shape.size;
    one.alpha = scale;
    one.out_stride = shape.rank;
    for (std::size_t i = 0; i < a.size(); ++i) {
      one.a = a[i];
      one.out = out[i] + first * shape.rank;
      tile.low_rank_project(one);
    }
  });
}

/// to [rank, size] = start + left^T right, for left [tokens, rank] of which `count` columns, and right
/// [tokens, size].
void gradient_of(const tensor::Cpu& device, const Lora& shape, const float* left, std::int64_t count,
                 const float* right, const float* start, float* to) {
  Gemm<float> g;
  g.m = count;
  g.n = shape.size;
  g.products[0] = {{left, 1, shape.rank}, {right, shape.size, false}, shape.tokens};
  g.c = to;
  g.c_stride = shape.size;
  g.start = start;
  g.name = "lora gradient";
  gemm(device, g);
}

}  // namespace

void lora_a_forward(const tensor::Cpu& device, const Lora& shape, const float* x,
                    std::span<const float* const> a, float scale, std::span<float* const> out) {
  const tensor::KernelTimer timer(device.profile(), "lora A x", static_cast<double>(a.size()) * flops(shape),
                                  bytes(shape));
  project(device, shape, shape.rank, x, a, scale, out);
}

void lora_b_backward(const tensor::Cpu& device, const Lora& shape, const float* dy, const float* b,
                     float scale, float* d_low) {
  const tensor::KernelTimer timer(device.profile(), "lora dy B", flops(shape), bytes(shape));
  by_ranks(shape, [&](std::int64_t from, std::int64_t count) {
    float* turned = device.shared();  // [count, size]
    over_size(device, shape.size, count, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t j = 0; j < count; ++j)
        for (std::int64_t i = begin; i < end; ++i)
          turned[j * shape.size + i] = b[i * shape.rank + from + j];
    });
    const float* a[1] = {turned};
    float* const to[1] = {d_low + from};
    project(device, shape, count, dy, a, scale, to);
  });
}

void lora_a_gradient(const tensor::Cpu& device, const Lora& shape, const float* d_low, const float* x,
                     float* gradient) {
  gradient_of(device, shape, d_low, shape.rank, x, gradient, gradient);
}

void lora_b_gradient(const tensor::Cpu& device, const Lora& shape, const float* low, const float* dy,
                     float* gradient) {
  by_ranks(shape, [&](std::int64_t from, std::int64_t count) {
    float* turned = device.shared();  // [count, size]
    gradient_of(device, shape, low + from, count, dy, nullptr, turned);
    const tensor::KernelTimer timer(device.profile(), "lora gradient",
                                    static_cast<double>(count * shape.size),
                                    12 * static_cast<double>(count * shape.size));
    over_size(device, shape.size, count, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        for (std::int64_t j = 0; j < count; ++j)
          gradient[i * shape.rank + from + j] += turned[j * shape.size + i];
    });
  });
}

}  // namespace finetuned::kernels
