#include <gtest/gtest.h>

#include "tests/cuda_emulator/emulator.h"
#include "tests/unit/cuda_kernels/twins.h"
#include "trainer/kernels/attention.h"

namespace finetuned::kernels {
namespace {

using tensor::Bf16;
using tensor::Cuda;
using tensor::Reference;

/// Weights are rounded to bfloat16 before they meet the values, so an output is right to a few parts in a thousand of theirs.
constexpr double kNear = 6e-3;

/// New queries of a sequence behind keys that it has already.
struct Length {
  std::int32_t queries = 1, behind = 0;
};

struct Case {
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

class CudaAttention : public testing::TestWithParam<Case> {
 protected:
  CudaAttention()
      : layout_(GetParam().lengths), cu_queries_(cuda_, layout_.cu_queries), begin_(cuda_, layout_.begin), end_(cuda_, layout_.end) {}

  /// `oracle`: with its pointers.
  Attention shape(bool oracle) const {
    const Case& one = GetParam();
    Attention made{static_cast<std::int64_t>(one.lengths.size()), one.heads, one.kv_heads, one.head_dim, one.window};
    made.cu_queries = oracle ? cu_queries_.oracle() : cu_queries_.gpu();
    made.key_begin = oracle ? begin_.oracle() : begin_.gpu();
    made.key_end = oracle ? end_.oracle() : end_.gpu();
    made.queries = layout_.cu_queries.back();
    return made;
  }

  Cuda cuda_;
  Reference oracle_;
  Layout layout_;
  Numbers<std::int32_t> cu_queries_, begin_, end_;
};

TEST_P(CudaAttention, ForwardIsTheOracles) {
  const Case& one = GetParam();
  const std::int64_t queries = layout_.cu_queries.back();
  for (const std::uint64_t seed : {1, 2}) {
    cuda_emulator::set_seed(seed);
    Twin<Bf16> q(cuda_, queries * one.heads * one.head_dim, 1, 3), k(cuda_, layout_.keys * one.kv_heads * one.head_dim, 2),
        v(cuda_, layout_.keys * one.kv_heads * one.head_dim, 3), out(cuda_, queries * one.heads * one.head_dim);
    Twin<float> lse(cuda_, one.heads * queries);
    attention(cuda_, shape(false), q.gpu(), k.gpu(), v.gpu(), out.gpu(), lse.gpu());
    attention(oracle_, shape(true), q.oracle(), k.oracle(), v.oracle(), out.oracle(), lse.oracle());
    out.expect_equal("out", kNear, 0);
    lse.expect_equal("lse", 1e-5, 1e-5);
  }
}

class CudaAttentionBackward : public CudaAttention {};

TEST_P(CudaAttentionBackward, IsTheOracles) {
  const Case& one = GetParam();
  const std::int64_t queries = layout_.cu_queries.back(), q_size = queries * one.heads * one.head_dim,
                     kv_size = queries * one.kv_heads * one.head_dim;
  for (const std::uint64_t seed : {1, 2}) {
    cuda_emulator::set_seed(seed);
    Twin<Bf16> q(cuda_, q_size, 1, 3), k(cuda_, kv_size, 2), v(cuda_, kv_size, 3), out(cuda_, q_size), d_out(cuda_, q_size, 4);
    Twin<Bf16> dq(cuda_, q_size), dk(cuda_, kv_size), dv(cuda_, kv_size);
    Twin<float> lse(cuda_, one.heads * queries), row_dot(cuda_, one.heads * queries);
    attention(cuda_, shape(false), q.gpu(), k.gpu(), v.gpu(), out.gpu(), lse.gpu());
    attention(oracle_, shape(true), q.oracle(), k.oracle(), v.oracle(), out.oracle(), lse.oracle());
    attention_backward(cuda_, shape(false), q.gpu(), k.gpu(), v.gpu(), out.gpu(), lse.gpu(), d_out.gpu(), dq.gpu(), dk.gpu(), dv.gpu(),
                       row_dot.gpu());
    attention_backward(oracle_, shape(true), q.oracle(), k.oracle(), v.oracle(), out.oracle(), lse.oracle(), d_out.oracle(), dq.oracle(),
                       dk.oracle(), dv.oracle(), row_dot.oracle());
    row_dot.expect_equal("row_dot", 6e-3 * static_cast<double>(one.head_dim) / 8, 0);  // of a rounded output
    dv.expect_equal("dv", 2e-2, 1e-2);
    dq.expect_equal("dq", 2e-2, 2e-2);
    dk.expect_equal("dk", 4e-2, 2e-2);
  }
}

const auto name_of = [](const auto& one) { return one.param.name; };

const auto whole = testing::Values(
    Case{"one_token", 1, 1, 64, 0, {{1, 0}}}, Case{"narrow_heads", 4, 2, 8, 0, {{5, 0}, {70, 0}}},
    Case{"tile_edges", 2, 1, 64, 0, {{64, 0}, {65, 0}, {63, 0}}}, Case{"of_80", 3, 3, 80, 0, {{33, 0}, {1, 0}}},
    Case{"of_96", 6, 2, 96, 0, {{17, 0}, {90, 0}}}, Case{"of_128", 2, 1, 128, 0, {{130, 0}}}, Case{"of_10", 1, 1, 10, 0, {{40, 0}}},
    Case{"window", 2, 2, 64, 17, {{100, 0}, {9, 0}}}, Case{"window_of_one", 1, 1, 64, 1, {{70, 0}}});
const auto continued = testing::Values(
    Case{"decoding", 4, 2, 64, 0, {{1, 100}, {1, 0}, {1, 63}, {1, 64}}}, Case{"continued", 2, 1, 128, 0, {{30, 50}, {70, 10}}},
    Case{"continued_in_a_window", 2, 1, 64, 20, {{30, 50}}});

INSTANTIATE_TEST_SUITE_P(Whole, CudaAttention, whole, name_of);
INSTANTIATE_TEST_SUITE_P(Continued, CudaAttention, continued, name_of);
INSTANTIATE_TEST_SUITE_P(Whole, CudaAttentionBackward, whole, name_of);

}  // namespace
}  // namespace finetuned::kernels
