// tensor::CudaGraph on the emulator: what would be started is kept, and done when the graph is started.

#include "tests/cuda_emulator/emulator.h"
#include "trainer/tensor/cuda_graph.h"

namespace finetuned::tensor {

CudaGraph::CudaGraph(const Cuda& device, const std::function<void()>& work) {
  auto kept = std::make_shared<std::vector<std::function<void()>>>();
  device.set_recording(true);
  cuda_emulator::record_into(kept.get());
  try {
    work();
  } catch (...) {
    cuda_emulator::record_into(nullptr);
    device.set_recording(false);
    throw;
  }
  cuda_emulator::record_into(nullptr);
  device.set_recording(false);
  made_ = kept;
}

void CudaGraph::start(const Cuda&) const {
  for (const auto& one : *static_cast<const std::vector<std::function<void()>>*>(made_.get())) one();
}

}  // namespace finetuned::tensor
