#pragma once

#include <functional>
#include <memory>

#include "trainer/tensor/cuda.h"

namespace finetuned::tensor {

/// Kernels that were recorded instead of started.
class CudaGraph {
 public:
  /// Those that `work` would start on the device's stream.
  CudaGraph(const Cuda& device, const std::function<void()>& work);

  void start(const Cuda& device) const;

 private:
  std::shared_ptr<void> made_;
};

}  // namespace finetuned::tensor
