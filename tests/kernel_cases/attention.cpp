#include "tests/kernel_cases/twins.h"
#include "trainer/kernels/attention.h"

namespace finetuned::kernels {
namespace {

using kernel_cases::Check;
using tensor::Bf16;
using tensor::Cuda;
using tensor::Reference;

/// Weights are rounded to bfloat16 before they meet the values, so an output is right to a few parts in a thousand of theirs.
constexpr double kNear = 6e-3;

/// New queries of a sequence behind keys that it has already.
struct Length {
  std::int32_t queries = 1, behind = 0;
};

struct Heads {
  std::string name;
  std::int64_t heads, kv_heads, head_dim, window;
  std::vector<Length> lengths;
};

/// The sequences' keys lie apart, as in a cache, where some are behind.
struct Layout {
  explicit Layout(const std::vector<Length>& lengths) {
    for (const Length& one : lengths) {
      const std::int32_t gap = one.behind > 0 ? 3 : 0;
      begin.push_back(keys + gap);
      end.push_back(begin.back() + one.queries + one.behind);
      keys = end.back() + gap;
      cu_queries.push_back(cu_queries.back() + one.queries);
    }
  }
  std::vector<std::int32_t> cu_queries{0}, begin, end;
  std::int32_t keys = 0;
};

/// The shape of a case, with the GPU's and with the oracle's pointers.
class Shapes {
 public:
  Shapes(const Cuda& cuda, const Heads& one)
      : one_(one), layout_(one.lengths), cu_queries_(cuda, layout_.cu_queries), begin_(cuda, layout_.begin), end_(cuda, layout_.end) {}

  Attention gpu() const { return made(cu_queries_.gpu(), begin_.gpu(), end_.gpu()); }
  Attention oracle() const { return made(cu_queries_.oracle(), begin_.oracle(), end_.oracle()); }
  std::int64_t queries() const { return layout_.cu_queries.back(); }
  std::int64_t q_size() const { return queries() * one_.heads * one_.head_dim; }
  std::int64_t kv_size() const { return layout_.keys * one_.kv_heads * one_.head_dim; }

 private:
  Attention made(const std::int32_t* cu_queries, const std::int32_t* begin, const std::int32_t* end) const {
    Attention shape{static_cast<std::int64_t>(one_.lengths.size()), one_.heads, one_.kv_heads, one_.head_dim, one_.window};
    shape.cu_queries = cu_queries;
    shape.key_begin = begin;
    shape.key_end = end;
    shape.queries = queries();
    return shape;
  }

  const Heads& one_;
  Layout layout_;
  Numbers<std::int32_t> cu_queries_, begin_, end_;
};

void forward(const Cuda& cuda, Check& check, const Heads& one) {
  const Reference oracle;
  const Shapes shapes(cuda, one);
  Twin<Bf16> q(cuda, shapes.q_size(), 1, 3), k(cuda, shapes.kv_size(), 2), v(cuda, shapes.kv_size(), 3), out(cuda, shapes.q_size());
  Twin<float> lse(cuda, one.heads * shapes.queries());
  attention(cuda, shapes.gpu(), q.gpu(), k.gpu(), v.gpu(), out.gpu(), lse.gpu());
  attention(oracle, shapes.oracle(), q.oracle(), k.oracle(), v.oracle(), out.oracle(), lse.oracle());
  out.compare(check, "out", kNear, 0);
  lse.compare(check, "lse", 1e-5, 1e-5);
}

void forward_and_back(const Cuda& cuda, Check& check, const Heads& one) {
  const Reference oracle;
  const Shapes shapes(cuda, one);
  const std::int64_t q_size = shapes.q_size(), kv_size = shapes.kv_size(), rows = one.heads * shapes.queries();
  Twin<Bf16> q(cuda, q_size, 1, 3), k(cuda, kv_size, 2), v(cuda, kv_size, 3), out(cuda, q_size), d_out(cuda, q_size, 4);
  Twin<Bf16> dq(cuda, q_size), dk(cuda, kv_size), dv(cuda, kv_size);
  Twin<float> lse(cuda, rows), row_dot(cuda, rows);
  attention(cuda, shapes.gpu(), q.gpu(), k.gpu(), v.gpu(), out.gpu(), lse.gpu());
  attention(oracle, shapes.oracle(), q.oracle(), k.oracle(), v.oracle(), out.oracle(), lse.oracle());
  out.compare(check, "out", kNear, 0);
  lse.compare(check, "lse", 1e-5, 1e-5);
  attention_backward(cuda, shapes.gpu(), q.gpu(), k.gpu(), v.gpu(), out.gpu(), lse.gpu(), d_out.gpu(), dq.gpu(), dk.gpu(), dv.gpu(),
                     row_dot.gpu());
  attention_backward(oracle, shapes.oracle(), q.oracle(), k.oracle(), v.oracle(), out.oracle(), lse.oracle(), d_out.oracle(), dq.oracle(),
                     dk.oracle(), dv.oracle(), row_dot.oracle());
  row_dot.compare(check, "row_dot", 6e-3 * static_cast<double>(one.head_dim) / 8, 0);  // of a rounded output
  dv.compare(check, "dv", 2e-2, 1e-2);
  dq.compare(check, "dq", 2e-2, 2e-2);
  dk.compare(check, "dk", 4e-2, 2e-2);
}

/// Row i is one in column i: with such keys and values each weight, and each change of one, stands by itself in the result.
std::vector<float> unit_rows(std::int64_t rows, std::int64_t columns) {
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (std::int64_t i = 0; i < rows; ++i) values[static_cast<std::size_t>(i * columns + i)] = 1;
  return values;
}

/// Every pair of a query and a key, to a part of its own size, and exactly nothing where the query does not see the key.
void pair_by_pair(const Cuda& cuda, Check& check, const Heads& one) {
  const Reference oracle;
  const Shapes shapes(cuda, one);
  const std::int64_t size = shapes.q_size(), rows = shapes.queries();
  for (const bool keys_are_units : {true, false}) {
    const auto made = [&](bool units, std::uint64_t seed, double spread) {
      return units ? Twin<Bf16>(cuda, unit_rows(rows, one.head_dim)) : Twin<Bf16>(cuda, size, seed, spread);
    };
    Twin<Bf16> q = made(!keys_are_units, 1, 3), k = made(keys_are_units, 2, 3), v = made(keys_are_units, 3, 1),
               d_out = made(!keys_are_units, 4, 1);
    Twin<Bf16> out(cuda, size), dq(cuda, size), dk(cuda, size), dv(cuda, size);
    Twin<float> lse(cuda, rows), row_dot(cuda, rows);
    attention(cuda, shapes.gpu(), q.gpu(), k.gpu(), v.gpu(), out.gpu(), lse.gpu());
    attention(oracle, shapes.oracle(), q.oracle(), k.oracle(), v.oracle(), out.oracle(), lse.oracle());
    attention_backward(cuda, shapes.gpu(), q.gpu(), k.gpu(), v.gpu(), out.gpu(), lse.gpu(), d_out.gpu(), dq.gpu(), dk.gpu(), dv.gpu(),
                       row_dot.gpu());
    attention_backward(oracle, shapes.oracle(), q.oracle(), k.oracle(), v.oracle(), out.oracle(), lse.oracle(), d_out.oracle(),
                       dq.oracle(), dk.oracle(), dv.oracle(), row_dot.oracle());
    if (keys_are_units) {
      out.compare(check, "weights", 0, 1.5e-2);
      dq.compare(check, "changes, by queries", 3e-5, 1.5e-2);
    } else {
      dv.compare(check, "weights, by keys", 0, 1.5e-2);
      dk.compare(check, "changes, by keys", 3e-5, 1.5e-2);
    }
  }
}

/// Keys in pages, which lie in another order than they come: the bits are those of keys in one piece.
void in_pages(const Cuda& cuda, Check& check, const Heads& one) {
  constexpr std::int64_t kMostPages = 4;
  const Shapes shapes(cuda, one);
  const auto sequences = static_cast<std::int64_t>(one.lengths.size());
  const std::int64_t row = one.kv_heads * one.head_dim, pages = sequences * kMostPages;
  Twin<Bf16> q(cuda, shapes.q_size(), 1, 3), k(cuda, shapes.kv_size(), 2), v(cuda, shapes.kv_size(), 3), out(cuda, shapes.q_size()),
      paged_out(cuda, shapes.q_size()), paged_k(cuda, pages * kKeyPage * row, 4), paged_v(cuda, pages * kKeyPage * row, 5);
  Twin<float> lse(cuda, one.heads * shapes.queries()), paged_lse(cuda, one.heads * shapes.queries());
  std::vector<std::int32_t> table, zeros(one.lengths.size()), ends;
  for (std::int64_t page = 0; page < pages; ++page) table.push_back(static_cast<std::int32_t>((page * 5 + 3) % pages));
  for (std::int64_t s = 0; s < sequences; ++s) {
    const std::int32_t begin = shapes.oracle().key_begin[s], count = shapes.oracle().key_end[s] - begin;
    ends.push_back(count);
    for (std::int64_t key = 0; key < count; ++key) {
      const std::int64_t to = table[static_cast<std::size_t>(s * kMostPages + key / kKeyPage)] * kKeyPage + key % kKeyPage;
      cuda.copy(paged_k.gpu() + to * row, k.gpu() + (begin + key) * row, row);
      cuda.copy(paged_v.gpu() + to * row, v.gpu() + (begin + key) * row, row);
    }
  }
  const Numbers<std::int32_t> on_gpu(cuda, table), begins(cuda, zeros), lengths(cuda, ends);
  Attention paged = shapes.gpu();
  paged.pages = on_gpu.gpu();
  paged.most_pages = kMostPages;
  paged.key_begin = begins.gpu();
  paged.key_end = lengths.gpu();
  attention(cuda, shapes.gpu(), q.gpu(), k.gpu(), v.gpu(), out.gpu(), lse.gpu());
  attention(cuda, paged, q.gpu(), paged_k.gpu(), paged_v.gpu(), paged_out.gpu(), paged_lse.gpu());
  check.holds(out.values() == paged_out.values() && lse.values() == paged_lse.values(), "pages change no bit");
}

const Heads kPairs[] = {{"33", 1, 1, 64, 0, {{33, 0}}}, {"64", 1, 1, 64, 0, {{64, 0}}}, {"97", 1, 1, 128, 0, {{97, 0}}},
                        {"97 in a window of 40", 1, 1, 128, 40, {{97, 0}}}, {"65", 1, 1, 96, 0, {{65, 0}}}};
const Heads kWhole[] = {
    {"one token", 1, 1, 64, 0, {{1, 0}}},          {"narrow heads", 4, 2, 8, 0, {{5, 0}, {70, 0}}},
    {"tile edges", 2, 1, 64, 0, {{64, 0}, {65, 0}, {63, 0}}}, {"of 80", 3, 3, 80, 0, {{33, 0}, {1, 0}}},
    {"of 96", 6, 2, 96, 0, {{17, 0}, {90, 0}}},    {"of 128", 2, 1, 128, 0, {{130, 0}}},
    {"of 10", 1, 1, 10, 0, {{40, 0}}},             {"window", 2, 2, 64, 17, {{100, 0}, {9, 0}}},
    {"window of one", 1, 1, 64, 1, {{70, 0}}},     {"window of two", 1, 1, 64, 2, {{70, 0}}},
    {"window of 66", 1, 1, 64, 66, {{150, 0}}},    {"grouped in a window", 4, 2, 64, 9, {{33, 0}, {70, 0}}},
    {"window beyond 32 bits", 1, 1, 64, (std::int64_t{1} << 32) - 1, {{97, 0}}},
    {"window at the end of 32 bits", 1, 1, 64, (std::int64_t{1} << 31) - 1, {{70, 0}}},
    {"an empty sequence", 2, 1, 64, 0, {{0, 0}, {5, 0}, {0, 0}, {65, 0}}}};
const Heads kContinued[] = {{"decoding", 4, 2, 64, 0, {{1, 100}, {1, 0}, {1, 63}, {1, 64}}},
                            {"continued", 2, 1, 128, 0, {{30, 50}, {70, 10}}},
                            {"continued in a window", 2, 1, 64, 20, {{30, 50}}}};

}  // namespace
}  // namespace finetuned::kernels

namespace finetuned::kernel_cases {

void add_attention_cases(std::vector<Case>& cases) {
  using namespace kernels;
  for (const Heads& one : kWhole)
    cases.push_back({"attention and back, " + one.name, [&one](const Cuda& cuda, Check& check) { forward_and_back(cuda, check, one); }});
  for (const Heads& one : kPairs)
    cases.push_back({"attention pair by pair, " + one.name, [&one](const Cuda& cuda, Check& check) { pair_by_pair(cuda, check, one); }});
  for (const Heads& one : kContinued) {
    cases.push_back({"attention, " + one.name, [&one](const Cuda& cuda, Check& check) { forward(cuda, check, one); }});
    cases.push_back({"attention in pages, " + one.name, [&one](const Cuda& cuda, Check& check) { in_pages(cuda, check, one); }});
  }
}

}  // namespace finetuned::kernel_cases
