#pragma once

#include <memory>

#include "trainer/tensor/cuda.h"

namespace finetuned::tensor {

/// Adds the GPU's time from its construction to its end to the device's profile, where there is one, and waits for it: each time is by some
/// microseconds too long, what it takes to start. Not while kernels are recorded.
class GpuTimer {
 public:
  GpuTimer(const Cuda& device, const char* name, double flops = 0, double bytes = 0);
  ~GpuTimer();
  GpuTimer(const GpuTimer&) = delete;
  GpuTimer& operator=(const GpuTimer&) = delete;

 private:
  struct Running;

  const Cuda& device_;
  const char* name_;  // a literal
  double flops_, bytes_;
  std::unique_ptr<Running> running_;  // nothing: there is no profile
};

}  // namespace finetuned::tensor
