#include "trainer/kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "base/expects.h"
#include "trainer/kernels/cpu/tiles.h"

namespace finetuned::kernels {

namespace {

constexpr std::int64_t kMostQueries = 96;

/// Queries and keys that meet at a time: multiples of every panel width, chosen by the head alone so that a
/// row's sums are made in the same order in any batch. Larger ones share their packing and row work among
/// more products; with wide heads they leave a thread's scratch.
struct Blocks {
  std::int64_t queries, keys;
};
Blocks forward_blocks(std::int64_t head_dim) {
  return head_dim <= 256 ? Blocks{kMostQueries, 192} : Blocks{48, 96};
}
Blocks backward_blocks(std::int64_t head_dim) {
  return head_dim <= 512 ? Blocks{kMostQueries, 96} : Blocks{48, 96};
}

std::int64_t round_up(std::int64_t count, std::int64_t to) {
  return (count + to - 1) / to * to;
}

/// One sequence and one query head; rows are counted from the sequence's start.
struct Lane {
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::int64_t first_query = 0;  ///< position of query 0
  std::int64_t query_at = 0, key_at = 0;
};

Lane lane_of(const Attention& shape, std::int64_t sequence) {
  Lane lane;
  lane.query_at = shape.cu_queries[sequence];
  lane.key_at = shape.key_begin[sequence];
  lane.queries = shape.cu_queries[sequence + 1] - lane.query_at;
  lane.keys = shape.key_end[sequence] - lane.key_at;
  lane.first_query = lane.keys - lane.queries;
  return lane;
}

/// The keys of a block [begin, begin + count) that a position sees: [from, to), counted from `begin`.
struct Visible {
  std::int64_t from = 0, to = 0;
};
Visible visible(const Attention& shape, std::int64_t position, std::int64_t begin, std::int64_t count) {
  const std::int64_t first = shape.window > 0 ? std::max<std::int64_t>(0, position + 1 - shape.window) : 0;
  const std::int64_t from = std::clamp<std::int64_t>(first - begin, 0, count);
  return {from, std::clamp<std::int64_t>(position + 1 - begin, from, count)};
}

void clear_hidden(float* row, const Visible& seen, std::int64_t count) {
  std::fill(row, row + seen.from, 0.0f);
  std::fill(row + seen.to, row + count, 0.0f);
}

struct Strides {
  std::int64_t q, kv;
};
Strides strides_of(const Attention& shape) {
  return {shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim};
}

/// Query tile [row, row + rows) against the keys [begin, ...): whether any of it is seen.
bool meets(const Attention& shape, const Lane& lane, std::int64_t row, std::int64_t rows, std::int64_t begin,
           std::int64_t count) {
  const std::int64_t last = lane.first_query + row + rows - 1;
  if (last < begin) return false;
  return shape.window == 0 || lane.first_query + row - shape.window + 1 < begin + count;
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
  const tensor::Cpu& device_;
  const Tiles& tile_;
  const Attention& shape_;
  const Blocks blocks_;
};

void Forward::block(std::int64_t sequence, std::int64_t head, std::int64_t row, int thread, const float* q,
                    const float* k, const float* v, float* out, float* lse) const {
  const Lane lane = lane_of(shape_, sequence);
  const std::int64_t d = shape_.head_dim, rows = std::min(blocks_.queries, lane.queries - row);
  const auto [q_stride, kv_stride] = strides_of(shape_);
  const std::int64_t kv_head = head / (shape_.heads / shape_.kv_heads);
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(d)));
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
    if (few) {
      FewRows score;
      score.m = rows;
      score.end = count;
      score.left[0] = {q, q_stride, 1};
      score.right[0] = keys;
      score.k[0] = d;
      score.c = scores;
      score.c_stride = blocks_.keys;
      score.alpha = scale;
      tile_.few_rows(score);
    } else {
      tile_.pack(keys, d, count, 0, count, key_panels);
      tile_.pack(values, count, d, 0, d, value_panels);
      GemmBlock score;
      score.m = rows;
      score.n = count;
      score.products[0] = {{q, q_stride, 1}, key_panels, d, d * tile_.panel_width, tile_.panel_width};
      score.c = scores;
      score.c_stride = blocks_.keys;
      score.alpha = scale;
      tile_.gemm(score);
    }
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

/// Visible pairs of a query and a key, times heads and head_dim.
double pair_flops(const Attention& shape) {
  double pairs = 0;
  for (std::int64_t sequence = 0; sequence < shape.sequences; ++sequence) {
    const Lane lane = lane_of(shape, sequence);
    const double queries = static_cast<double>(lane.queries), keys = static_cast<double>(lane.keys);
    const double window = static_cast<double>(shape.window);
    pairs += shape.window > 0 && window < keys ? queries * window : queries * (keys - (queries - 1) / 2);
  }
  return pairs * static_cast<double>(shape.heads * shape.head_dim);
}

/// Of q, k, v and the result on average, in bytes.
double elements(const Attention& shape) {
  const double queries = shape.cu_queries[shape.sequences];
  double keys = 0;
  for (std::int64_t sequence = 0; sequence < shape.sequences; ++sequence)
    keys += static_cast<double>(lane_of(shape, sequence).keys);
  return 2.0 * static_cast<double>(shape.head_dim) *
         (queries * static_cast<double>(shape.heads) + keys * static_cast<double>(shape.kv_heads));
}

}  // namespace

void attention(const tensor::Cpu& device, const Attention& shape, const float* q, const float* k,
               const float* v, float* out, float* lse) {
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
