#include "trainer/tensor/gpu_timer.h"

#include <cuda_runtime_api.h>
#include <string>

namespace finetuned::tensor {

namespace {

void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throw CudaFailed(std::string(call) + ": " + cudaGetErrorString(status));
}

}  // namespace

struct GpuTimer::Running {
  explicit Running(cudaStream_t on) : stream(on) {
    check(cudaEventCreate(&from), "cudaEventCreate");
    const cudaError_t status = cudaEventCreate(&to);
    if (status != cudaSuccess) cudaEventDestroy(from);
    check(status, "cudaEventCreate");
  }
  ~Running() {
    cudaEventDestroy(to);
    cudaEventDestroy(from);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  cudaStream_t stream;
  cudaEvent_t from = nullptr, to = nullptr;
};

GpuTimer::GpuTimer(const Cuda& device, const char* name, double flops, double bytes)
    : device_(device), name_(name), flops_(flops), bytes_(bytes) {
  if (!device.profile()) return;
  device.use();
  running_ = std::make_unique<Running>(static_cast<cudaStream_t>(device.stream()));
  check(cudaEventRecord(running_->from, running_->stream), "cudaEventRecord");
}

/// A failure is left to the next call that asks, which can throw.
GpuTimer::~GpuTimer() {
  if (!running_) return;
  float milliseconds = 0;
  if (cudaEventRecord(running_->to, running_->stream) == cudaSuccess && cudaEventSynchronize(running_->to) == cudaSuccess &&
      cudaEventElapsedTime(&milliseconds, running_->from, running_->to) == cudaSuccess)
    device_.profile()->add(name_, static_cast<double>(milliseconds) / 1e3, flops_, bytes_);
}

}  // namespace finetuned::tensor
