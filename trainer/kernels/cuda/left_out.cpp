// The kernels for GPUs where the build has none: nobody gets here, since no tensor::Cuda can be made then.

#include <source_location>

#include "base/expects.h"
#include "trainer/kernels/adamw.h"
#include "trainer/kernels/attention.h"
#include "trainer/kernels/cross_entropy.h"
#include "trainer/kernels/dropout.h"
#include "trainer/kernels/embedding.h"
#include "trainer/kernels/gemm.h"
#include "trainer/kernels/lora.h"
#include "trainer/kernels/lower.h"
#include "trainer/kernels/reduce.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/swiglu.h"

namespace finetuned::kernels {

using tensor::Bf16;
using tensor::Cuda;

namespace {

[[noreturn]] void left_out() {
  base::broken_invariant("a program without CUDA has no GPU", std::source_location::current());
}

}  // namespace

void adamw(const Cuda&, const AdamW&, std::int64_t, double, float*, const float*, float*, float*, std::int64_t) { left_out(); }
void attention(const Cuda&, const Attention&, const Bf16*, const Bf16*, const Bf16*, Bf16*, float*) { left_out(); }
void attention_backward(const Cuda&, const Attention&, const Bf16*, const Bf16*, const Bf16*, const Bf16*,
                        const float*, const Bf16*, Bf16*, Bf16*, Bf16*, float*) { left_out(); }
PendingLoss begin_head_loss(const Cuda&, const HeadLoss&, const Bf16*, const Bf16*, const std::int32_t*, double, Bf16*,
                   float*, float*) { left_out(); }
void dropout(const Cuda&, const Dropout&, const Bf16*, bool, Bf16*) { left_out(); }
void gather_rows(const Cuda&, const Bf16*, const std::int32_t*, std::int64_t, std::int64_t, Bf16*) { left_out(); }
void scatter_rows(const Cuda&, const Bf16*, const std::int32_t*, std::int64_t, std::int64_t, Bf16*) { left_out(); }
void scatter_add_rows(const Cuda&, const Bf16*, const std::int32_t*, std::int64_t, std::int64_t, float*) { left_out(); }
void gemm(const Cuda&, std::span<const Gemm<Bf16>>) { left_out(); }
void gemm(const Cuda&, std::span<const Gemm<Bf16, float>>) { left_out(); }
void lora_a_forward(const Cuda&, const Lora&, const Bf16*, std::span<const Bf16* const>, float,
                    std::span<Bf16* const>) { left_out(); }
void lora_b_backward(const Cuda&, const Lora&, const Bf16*, const Bf16*, float, Bf16*) { left_out(); }
void lora_a_gradient(const Cuda&, const Lora&, const Bf16*, const Bf16*, float*) { left_out(); }
void lora_b_gradient(const Cuda&, const Lora&, const Bf16*, const Bf16*, float*) { left_out(); }
void lower(const Cuda&, const float*, std::int64_t, Bf16*) { left_out(); }
double square_sum(const Cuda&, const float*, std::int64_t) { left_out(); }
void accumulate(const Cuda&, const float*, bool, std::int64_t, float*) { left_out(); }
void add_column_sums(const Cuda&, const Bf16*, std::int64_t, std::int64_t, float*) { left_out(); }
void rmsnorm(const Cuda&, const RmsNorm&, const Bf16*, const Bf16*, Bf16*, float*) { left_out(); }
void rmsnorm_apply(const Cuda&, const RmsNorm&, const Bf16*, const Bf16*, const float*, Bf16*) { left_out(); }
void rmsnorm_backward(const Cuda&, const RmsNorm&, const Bf16*, const Bf16*, const Bf16*, const float*, bool, Bf16*,
                      float*) { left_out(); }
void rope(const Cuda&, const Rope&, const float*, const float*, const std::int32_t*, Bf16*) { left_out(); }
void swiglu(const Cuda&, const Bf16*, const Bf16*, std::int64_t, Bf16*) { left_out(); }
void swiglu_backward(const Cuda&, const Bf16*, Bf16*, Bf16*, std::int64_t) { left_out(); }

}  // namespace finetuned::kernels
