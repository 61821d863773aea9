#pragma once

#include "trainer/kernels/cpu/simd.h"
#include "trainer/kernels/cpu/tiles.h"

namespace finetuned::kernels::FINETUNED_ISA {

void rmsnorm(const float* x, const float* weight, std::int64_t rows, std::int64_t size, std::int64_t stride,
             float eps, float* y, float* rstd);
void rmsnorm_apply(const float* x, const float* weight, const float* rstd, std::int64_t rows,
                   std::int64_t size, std::int64_t stride, float* y);
void rmsnorm_backward(const float* dy, const float* x, const float* weight, const float* rstd,
                      std::int64_t rows, std::int64_t size, std::int64_t stride, bool add, float* dx);
void swiglu(const float* gate, const float* up, std::int64_t count, float* out);
void swiglu_backward(const float* d_out, float* gate, float* up, std::int64_t count);
void rotate(float* x, const float* cosines, const float* sines, std::int64_t heads, std::int64_t half,
            float sign);
float softmax_chunk(float* logits, std::int64_t count, std::int64_t first_id, SoftmaxRow& row);
void exp_shifted(float* values, std::int64_t count, float offset, float factor);
void softmax_backward(const float* p, const float* dp, float d, float factor, std::int64_t count, float* ds);
float dot(const float* a, const float* b, std::int64_t count);
void scale(float* values, std::int64_t count, float factor);
void add_scaled(float* to, const float* from, float factor, std::int64_t count);
void adamw(const AdamWFactors& factors, float* value, const float* gradient, float* first, float* second,
           std::int64_t count);

}  // namespace finetuned::kernels::FINETUNED_ISA
