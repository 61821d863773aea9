#include <algorithm>
#include <cmath>

#include "base/expects.h"
#include "trainer/kernels/cpu/attention_blocks.h"
#include "trainer/kernels/cpu/tiles.h"

namespace finetuned::kernels {

namespace {

Blocks forward_blocks(std::int64_t head_dim) {
  return head_dim <= 256 ? Blocks{kMostQueries, 192} : Blocks{48, 96};
}

class Forward {
 public:
  Forward(const tensor::Cpu& device, const Attention& shape)
      : device_(device), tile_(tiles(device.isa())), shape_(shape), blocks_(forward_blocks(shape.head_dim)) {
    const auto d = static_cast<std::size_t>(round_up(shape.head_dim, 48));
    const auto queries = static_cast<std::size_t>(blocks_.queries),
               keys = static_cast<std::size_t>(blocks_.keys);
    base::expects((2 * keys * d + queries * (keys + d)) * sizeof(float) <= tensor::Cpu::kScratchBytes,
                  "attention's tiles fit a thread's scratch");
  }

  /// A block of queries of one head walks over its keys.
  void block(std::int64_t sequence, std::int64_t head, std::int64_t row, int thread, const float* q,
             const float* k, const float* v, float* out, float* lse) const;

 private:
  /// scores [rows, count] = q keys / sqrt(head_dim). The keys are packed into `panels`; null: few rows read
  /// them where they lie.
  void multiply_keys(const LeftOperand& q, std::int64_t rows, const RightOperand& keys, std::int64_t count,
                     float* panels, float* scores) const;

  const tensor::Cpu& device_;
  const Tiles& tile_;
  const Attention& shape_;
  const Blocks blocks_;
};

void Forward::multiply_keys(const LeftOperand& q, std::int64_t rows, const RightOperand& keys,
                            std::int64_t count, float* panels, float* scores) const {
  const std::int64_t d = shape_.head_dim;
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(d)));
  if (!panels) {
    FewRows product;
    product.m = rows;
    product.end = count;
    product.left[0] = q;
    product.right[0] = product.ahead[0] = keys;
    product.k[0] = d;
    product.c = scores;
    product.c_stride = blocks_.keys;
    product.alpha = scale;
    return tile_.few_rows(product);
  }
  tile_.pack(keys, d, count, 0, count, panels);
  GemmBlock product;
  product.m = rows;
  product.n = count;
  product.products[0] = {q, panels, d, d * tile_.panel_width, tile_.panel_width};
  product.c = scores;
  product.c_stride = blocks_.keys;
  product.alpha = scale;
  tile_.gemm(product);
}

void Forward::block(std::int64_t sequence, std::int64_t head, std::int64_t row, int thread, const float* q,
                    const float* k, const float* v, float* out, float* lse) const {
  const Lane lane = lane_of(shape_, sequence);
  const std::int64_t d = shape_.head_dim, rows = std::min(blocks_.queries, lane.queries - row);
  const auto [q_stride, kv_stride] = strides_of(shape_);
  const std::int64_t kv_head = head / (shape_.heads / shape_.kv_heads);
  q += (lane.query_at + row) * q_stride + head * d;
  out += (lane.query_at + row) * q_stride + head * d;
  lse += head * shape_.cu_queries[shape_.sequences] + lane.query_at + row;
  k += lane.key_at * kv_stride + kv_head * d;
  v += lane.key_at * kv_stride + kv_head * d;

  float* key_panels = device_.scratch(thread);          // [d, blocks_.keys]
  float* value_panels = key_panels + blocks_.keys * d;  // [blocks_.keys, d]
  float* scores =
      value_panels + blocks_.keys * round_up(d, tile_.panel_width);  // [blocks_.queries, blocks_.keys]
  SoftmaxRow softmax[kMostQueries];
  bool started = false;
  const bool few = rows <= kMostFewRows && d % tile_.lanes == 0;  // decoding: keys are read where they lie
  const std::int64_t end = lane.first_query + row + rows;         // what the last query sees
  for (std::int64_t begin = 0; begin < end; begin += blocks_.keys) {
    const std::int64_t count = std::min(blocks_.keys, end - begin);
    if (!meets(shape_, lane, row, rows, begin, count)) continue;
    const RightOperand keys{k + begin * kv_stride, kv_stride, true},
        values{v + begin * kv_stride, kv_stride, false};
    if (!few) tile_.pack(values, count, d, 0, d, value_panels);
    multiply_keys({q, q_stride, 1}, rows, keys, count, few ? nullptr : key_panels, scores);
    for (std::int64_t i = 0; i < rows; ++i) {
      const Visible seen = visible(shape_, lane.first_query + row + i, begin, count);
      float* s = scores + i * blocks_.keys;
      clear_hidden(s, seen, count);
      if (seen.from == seen.to) continue;
      const float rescale = tile_.softmax_chunk(s + seen.from, seen.to - seen.from, kNoIds, softmax[i]);
      if (rescale != 1 && started) tile_.scale(out + i * q_stride, d, rescale);
    }
    GemmBlock mix;
    mix.m = rows;
    mix.n = d;
    const LeftOperand weights{scores, blocks_.keys, 1};
    if (few)
      mix.products[0] = {weights, values.data, count, tile_.panel_width, kv_stride};
    else
      mix.products[0] = {weights, value_panels, count, count * tile_.panel_width, tile_.panel_width};
    mix.c = out;
    mix.c_stride = q_stride;
    mix.start = started ? out : nullptr;
    tile_.gemm(mix);
    started = true;
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    tile_.scale(out + i * q_stride, d, 1 / softmax[i].sum);
    lse[i] = softmax[i].maximum + std::log(softmax[i].sum);
  }
}

}  // namespace

void attention(const tensor::Cpu& device, const Attention& shape, const float* q, const float* k,
               const float* v, float* out, float* lse) {
  base::expects(!shape.pages, "keys lie in one piece here");
  const tensor::KernelTimer timer(device.profile(), "attention", 4 * pair_flops(shape), 4 * elements(shape));
  const Forward forward(device, shape);
  const std::int64_t queries = forward_blocks(shape.head_dim).queries;
  const auto blocks_of = [&](std::int64_t sequence) {
    return (shape.cu_queries[sequence + 1] - shape.cu_queries[sequence] + queries - 1) / queries;
  };
  if (shape.sequences > 1) {
    device.pool().run(shape.sequences * shape.heads, [&](std::int64_t task, int thread) {
      const std::int64_t sequence = task / shape.heads;
      for (std::int64_t block = 0; block < blocks_of(sequence); ++block)
        forward.block(sequence, task % shape.heads, block * queries, thread, q, k, v, out, lse);
    });
    return;
  }
  // One long sequence: its longest walks first, so that the threads end together.
  const std::int64_t blocks = blocks_of(0);
  device.pool().run(blocks * shape.heads, [&](std::int64_t task, int thread) {
    const std::int64_t block = blocks - 1 - task / shape.heads;
    forward.block(0, task % shape.heads, block * queries, thread, q, k, v, out, lse);
  });
}

}  // namespace finetuned::kernels
