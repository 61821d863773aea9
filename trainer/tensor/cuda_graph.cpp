#include "trainer/tensor/cuda_graph.h"

#include <cuda_runtime_api.h>
#include <string>

namespace finetuned::tensor {

namespace {

void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throw CudaFailed(std::string(call) + ": " + cudaGetErrorString(status));
}

/// The device's stream records while this lives.
class Recording {
 public:
  explicit Recording(const Cuda& device) : device_(device), stream_(static_cast<cudaStream_t>(device.stream())) {
    device.use();
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
    device.set_recording(true);
  }
  ~Recording() {
    device_.set_recording(false);
    cudaGraph_t broken_off = nullptr;
    if (!ended_ && cudaStreamEndCapture(stream_, &broken_off) == cudaSuccess && broken_off) cudaGraphDestroy(broken_off);
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  cudaGraph_t end() {
    ended_ = true;
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
    return graph;
  }

 private:
  const Cuda& device_;
  cudaStream_t stream_;
  bool ended_ = false;
};

}  // namespace

CudaGraph::CudaGraph(const Cuda& device, const std::function<void()>& work) {
  Recording recording(device);
  work();
  cudaGraph_t graph = recording.end();
  cudaGraphExec_t ready = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&ready, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "cudaGraphInstantiate");
  made_ = {ready, [](void* graph_exec) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph_exec)); }};
}

void CudaGraph::start(const Cuda& device) const {
  device.use();
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(made_.get()), static_cast<cudaStream_t>(device.stream())), "cudaGraphLaunch");
}

}  // namespace finetuned::tensor
