#include "trainer/kernels/attention.h"

#include "tests/unit/trainer_kernels/close.h"

namespace finetuned::kernels {
namespace {

struct Case {
  std::vector<std::int32_t> lengths;
  std::int64_t heads, kv_heads, head_dim, window;
};

struct Batch {
  explicit Batch(const Case& c) : cu{0} {
    for (const auto length : c.lengths)
      cu.push_back(cu.back() + length);
    shape = {static_cast<std::int64_t>(c.lengths.size()),
             c.heads,
             c.kv_heads,
             c.head_dim,
             c.window,
             cu.data(),
             cu.data(),
             cu.data() + 1};
    q_count = cu.back() * c.heads * c.head_dim;
    kv_count = cu.back() * c.kv_heads * c.head_dim;
    rows = static_cast<std::size_t>(cu.back() * c.heads);
  }
  std::vector<std::int32_t> cu;
  Attention shape;
  std::int64_t q_count = 0, kv_count = 0;
  std::size_t rows = 0;
};

template <class Real>
struct Result {
  explicit Result(const Batch& batch)
      : out(static_cast<std::size_t>(batch.q_count)),
        lse(batch.rows),
        dq(out.size()),
        dk(static_cast<std::size_t>(batch.kv_count)),
        dv(dk.size()),
        dot(batch.rows) {}
  std::vector<Real> out, lse, dq, dk, dv, dot;
};

template <class Device, class Real>
void both_ways(const Device& device, const Batch& batch, const std::vector<Real>& q,
               const std::vector<Real>& k, const std::vector<Real>& v, const std::vector<Real>& d_out,
               Result<Real>& r) {
  attention(device, batch.shape, q.data(), k.data(), v.data(), r.out.data(), r.lse.data());
  attention_backward(device, batch.shape, q.data(), k.data(), v.data(), r.out.data(), r.lse.data(),
                     d_out.data(), r.dq.data(), r.dk.data(), r.dv.data(), r.dot.data());
}

const std::vector<Case> kCases{
    {{1}, 1, 1, 2, 0},     {{7, 1, 30}, 4, 2, 8, 0},       {{130, 49, 95, 96, 97}, 2, 1, 16, 0},
    {{300}, 3, 3, 48, 0},  {{250, 5}, 4, 1, 10, 100},      {{40, 100}, 2, 2, 6, 5},
    {{200}, 2, 1, 128, 1}, {{100}, 1, 1, kMostHeadDim, 0},
};

TEST(Attention, IsTheOraclesForwardAndBackward) {
  on_each_cpu([&](const tensor::Cpu& cpu) {
    for (const Case& c : kCases) {
      const Batch batch(c);
      const Numbers q(batch.q_count, 1, 2), k(batch.kv_count, 2, 2), v(batch.kv_count, 3),
          d_out(batch.q_count, 4);
      Result<float> ours(batch);
      Result<double> oracle(batch);
      both_ways(cpu, batch, q.single, k.single, v.single, d_out.single, ours);
      both_ways(tensor::Reference(), batch, q.exact, k.exact, v.exact, d_out.exact, oracle);
      const std::string name =
          std::to_string(c.lengths.front()) + " tokens, head_dim " + std::to_string(c.head_dim);
      expect_close(ours.out, oracle.out, "out of " + name);
      expect_close(ours.lse, oracle.lse, "lse of " + name);
      expect_close(ours.dq, oracle.dq, "dq of " + name);
      expect_close(ours.dk, oracle.dk, "dk of " + name);
      expect_close(ours.dv, oracle.dv, "dv of " + name);
    }
  });
}

TEST(Attention, HasTheGradientsOfFiniteDifferences) {
  const Case c{{7, 12}, 4, 2, 6, 5};
  const Batch batch(c);
  Numbers q(batch.q_count, 1, 2), k(batch.kv_count, 2, 2), v(batch.kv_count, 3), d_out(batch.q_count, 4);
  Result<double> r(batch);
  both_ways(tensor::Reference(), batch, q.exact, k.exact, v.exact, d_out.exact, r);
  const Result<double> kept = r;
  const auto value = [&] {
    attention(tensor::Reference(), batch.shape, q.exact.data(), k.exact.data(), v.exact.data(), r.out.data(),
              r.lse.data());
    return dot_of(r.out, d_out.exact);
  };
  const Numbers u(batch.q_count, 7), w(batch.kv_count, 8);
  expect_slope(slope_along(q.exact, u.exact, value), dot_of(kept.dq, u.exact));
  expect_slope(slope_along(k.exact, w.exact, value), dot_of(kept.dk, w.exact));
  expect_slope(slope_along(v.exact, w.exact, value), dot_of(kept.dv, w.exact));
}

TEST(Attention, OfTheLastQueriesIsThatOfAll) {
  const Case c{{150}, 2, 1, 16, 0};
  const Batch batch(c);
  const Numbers q(batch.q_count, 1), k(batch.kv_count, 2), v(batch.kv_count, 3);
  on_each_cpu([&](const tensor::Cpu& cpu) {
    Result<float> whole(batch);
    attention(cpu, batch.shape, q.single.data(), k.single.data(), v.single.data(), whole.out.data(),
              whole.lse.data());
    for (const std::int32_t last : {1, 2, 60}) {
      const std::vector<std::int32_t> cu_queries{0, last};
      Attention shape = batch.shape;
      shape.cu_queries = cu_queries.data();
      const std::size_t from = static_cast<std::size_t>((150 - last) * 2 * 16);
      std::vector<float> out(static_cast<std::size_t>(last * 2 * 16)),
          lse(static_cast<std::size_t>(last * 2));
      attention(cpu, shape, q.single.data() + from, k.single.data(), v.single.data(), out.data(), lse.data());
      EXPECT_TRUE(std::equal(out.begin(), out.end(), whole.out.begin() + static_cast<std::ptrdiff_t>(from)));
    }
  });
}

}  // namespace
}  // namespace finetuned::kernels
