#pragma once

#include "trainer/kernels/cpu/simd.h"
#include "trainer/kernels/cpu/tiles.h"

namespace finetuned::kernels::FINETUNED_ISA {

void pack_panels(const RightOperand& right, std::int64_t k, std::int64_t n, std::int64_t begin,
                 std::int64_t end, float* panels);
void gemm_block(const GemmBlock& block);
void few_rows(const FewRows& block);
void low_rank_project(const LowRankProject& block);

}  // namespace finetuned::kernels::FINETUNED_ISA
