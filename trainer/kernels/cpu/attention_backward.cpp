#include <algorithm>
#include <cmath>

#include "base/expects.h"
#include "trainer/kernels/cpu/attention_blocks.h"
#include "trainer/kernels/cpu/tiles.h"

namespace finetuned::kernels {

namespace {

Blocks backward_blocks(std::int64_t head_dim) {
  return head_dim <= 512 ? Blocks{kMostQueries, 96} : Blocks{48, 96};
}

/// dq, dk and dv of one sequence and key head: its query heads in turn, each over blocks of keys, then of
/// queries.
class Backward {
 public:
  Backward(const tensor::Cpu& device, const Attention& shape)
      : device_(device),
        tile_(tiles(device.isa())),
        shape_(shape),
        blocks_(backward_blocks(shape.head_dim)) {}

  struct Arrays {
    const float *q, *k, *v, *out, *lse, *d_out;
    float *dq, *dk, *dv, *row_dot;
  };
  void key_head(std::int64_t sequence, std::int64_t kv_head, int thread, const Arrays& arrays) const;

 private:
  struct Panels {
    float *k_forward, *v_forward, *k_backward;  ///< of the block of keys
    float *q, *d_out;                           ///< of the block of queries
    float *p, *ds;                              ///< [blocks_.queries, blocks_.keys]
  };
  Panels panels(int thread) const;
  /// `packed_k`: the depth that `right`'s panels were packed for, of which `k` is the first part.
  void product(std::int64_t m, std::int64_t n, std::int64_t k, const LeftOperand& left, const float* right,
               std::int64_t packed_k, float* c, std::int64_t c_stride, bool accumulate,
               float alpha = 1) const;
  void tile(const Lane& lane, std::int64_t row, std::int64_t begin, std::int64_t count, bool first_keys,
            bool first_queries, const Panels& panel, const Arrays& at) const;

  void clear_rows(std::int64_t met, std::int64_t count, std::int64_t begin, const Arrays& at) const;

  const tensor::Cpu& device_;
  const Tiles& tile_;
  const Attention& shape_;
  const Blocks blocks_;
};

Backward::Panels Backward::panels(int thread) const {
  const std::int64_t d = round_up(shape_.head_dim, tile_.panel_width);
  float* at = device_.scratch(thread);
  const auto next = [&at](std::int64_t floats) {
    float* here = at;
    at += floats;
    return here;
  };
  Panels panel{};
  panel.k_forward = next(blocks_.keys * d);
  panel.v_forward = next(blocks_.keys * d);
  panel.k_backward = next(blocks_.keys * d);
  panel.q = next(blocks_.queries * d);
  panel.d_out = next(blocks_.queries * d);
  panel.p = next(blocks_.queries * blocks_.keys);
  panel.ds = next(blocks_.queries * blocks_.keys);
  base::expects(at <= device_.scratch(thread) + tensor::Cpu::kScratchBytes / sizeof(float),
                "attention's tiles fit a thread's scratch");
  return panel;
}

void Backward::product(std::int64_t m, std::int64_t n, std::int64_t k, const LeftOperand& left,
                       const float* right, std::int64_t packed_k, float* c, std::int64_t c_stride,
                       bool accumulate, float alpha) const {
  GemmBlock block;
  block.m = m;
  block.n = n;
  block.products[0] = {left, right, k, packed_k * tile_.panel_width, tile_.panel_width};
  block.c = c;
  block.c_stride = c_stride;
  block.start = accumulate ? c : nullptr;
  block.alpha = alpha;
  tile_.gemm(block);
}

/// dk and dv of the keys [met, count) of a block, which the first queries that meet the block do not see.
void Backward::clear_rows(std::int64_t met, std::int64_t count, std::int64_t begin, const Arrays& at) const {
  const std::int64_t stride = strides_of(shape_).kv;
  for (std::int64_t key = begin + met; key < begin + count; ++key) {
    std::fill_n(at.dk + key * stride, shape_.head_dim, 0.0f);
    std::fill_n(at.dv + key * stride, shape_.head_dim, 0.0f);
  }
}

/// `at` points at this head and sequence. p = e^(s - lse); dv += p^T dout; ds = p (dout v^T - row_dot) scale;
/// dq += ds k; dk += ds^T q.
void Backward::tile(const Lane& lane, std::int64_t row, std::int64_t begin, std::int64_t count,
                    bool first_keys, bool first_queries, const Panels& panel, const Arrays& at) const {
  const std::int64_t d = shape_.head_dim, rows = std::min(blocks_.queries, lane.queries - row);
  const auto [q_stride, kv_stride] = strides_of(shape_);
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(d)));
  const float* q = at.q + row * q_stride;
  const float* d_out = at.d_out + row * q_stride;
  const std::int64_t met = std::min(count, row + rows - begin);  // keys that the last query sees
  product(rows, met, d, {q, q_stride, 1}, panel.k_forward, d, panel.p, blocks_.keys, false, scale);
  product(rows, met, d, {d_out, q_stride, 1}, panel.v_forward, d, panel.ds, blocks_.keys, false);
  for (std::int64_t i = 0; i < rows; ++i) {
    const Visible seen = visible(shape_, row + i, begin, met);
    float* p = panel.p + i * blocks_.keys;
    float* ds = panel.ds + i * blocks_.keys;
    clear_hidden(p, seen, met);
    tile_.exp_shifted(p + seen.from, seen.to - seen.from, at.lse[row + i], 1);
    tile_.softmax_backward(p, ds, at.row_dot[row + i], scale, met, ds);
  }
  tile_.pack({d_out, q_stride, false}, rows, d, 0, d, panel.d_out);
  tile_.pack({q, q_stride, false}, rows, d, 0, d, panel.q);
  if (first_queries && met < count) clear_rows(met, count, begin, at);
  product(met, d, rows, {panel.p, 1, blocks_.keys}, panel.d_out, rows, at.dv + begin * kv_stride, kv_stride,
          !first_queries);
  product(met, d, rows, {panel.ds, 1, blocks_.keys}, panel.q, rows, at.dk + begin * kv_stride, kv_stride,
          !first_queries);
  product(rows, d, met, {panel.ds, blocks_.keys, 1}, panel.k_backward, count, at.dq + row * q_stride,
          q_stride, !first_keys);
}

void Backward::key_head(std::int64_t sequence, std::int64_t kv_head, int thread, const Arrays& arrays) const {
  const Lane lane = lane_of(shape_, sequence);
  const std::int64_t d = shape_.head_dim, group = shape_.heads / shape_.kv_heads;
  const auto [q_stride, kv_stride] = strides_of(shape_);
  const Panels panel = panels(thread);
  const std::int64_t kv_offset = lane.key_at * kv_stride + kv_head * d;
  const std::int64_t tokens = shape_.cu_queries[shape_.sequences];
  for (std::int64_t begin = 0; begin < lane.keys; begin += blocks_.keys) {
    const std::int64_t count = std::min(blocks_.keys, lane.keys - begin);
    const float* k = arrays.k + kv_offset + begin * kv_stride;
    tile_.pack({k, kv_stride, true}, d, count, 0, count, panel.k_forward);
    tile_.pack({arrays.v + kv_offset + begin * kv_stride, kv_stride, true}, d, count, 0, count,
               panel.v_forward);
    tile_.pack({k, kv_stride, false}, count, d, 0, d, panel.k_backward);
    bool first_queries = true;
    for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const std::int64_t offset = lane.query_at * q_stride + head * d,
                         row_offset = head * tokens + lane.query_at;
      Arrays at = arrays;
      at.q += offset;
      at.d_out += offset;
      at.dq += offset;
      at.lse += row_offset;
      at.row_dot += row_offset;
      at.dk += kv_offset;
      at.dv += kv_offset;
      for (std::int64_t row = 0; row < lane.queries; row += blocks_.queries) {
        const std::int64_t rows = std::min(blocks_.queries, lane.queries - row);
        if (!meets(shape_, lane, row, rows, begin, count)) continue;
        const bool met_before =
            begin > 0 && meets(shape_, lane, row, rows, begin - blocks_.keys, blocks_.keys);
        tile(lane, row, begin, count, !met_before, first_queries, panel, at);
        first_queries = false;
      }
    }
  }
}

}  // namespace

void attention_backward(const tensor::Cpu& device, const Attention& shape, const float* q, const float* k,
                        const float* v, const float* out, const float* lse, const float* d_out, float* dq,
                        float* dk, float* dv, float* row_dot) {
  const tensor::KernelTimer timer(device.profile(), "attention backward", 10 * pair_flops(shape),
                                  8 * elements(shape));
  const Tiles& tile = tiles(device.isa());
  const std::int64_t tokens = shape.cu_queries[shape.sequences], d = shape.head_dim;
  constexpr std::int64_t kTokens = 32;
  device.pool().run((tokens + kTokens - 1) / kTokens, [&](std::int64_t task, int) {
    for (std::int64_t token = task * kTokens; token < std::min(tokens, (task + 1) * kTokens); ++token)
      for (std::int64_t head = 0; head < shape.heads; ++head) {
        const std::int64_t at = (token * shape.heads + head) * d;
        row_dot[head * tokens + token] = tile.dot(out + at, d_out + at, d);
      }
  });
  const Backward backward(device, shape);
  const Backward::Arrays arrays{q, k, v, out, lse, d_out, dq, dk, dv, row_dot};
  device.pool().run(shape.sequences * shape.kv_heads, [&](std::int64_t task, int thread) {
    backward.key_head(task / shape.kv_heads, task % shape.kv_heads, thread, arrays);
  });
}

}  // namespace finetuned::kernels
