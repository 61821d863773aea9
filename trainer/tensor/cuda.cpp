#include "trainer/tensor/cuda.h"

#include <cuda_runtime_api.h>
#include <new>
#include <stdexcept>

#include "base/errors.h"

namespace finetuned::tensor {

namespace {

constexpr int kLeastMajor = 8;

void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(call) + ": " + cudaGetErrorString(status));
}

cudaStream_t native(void* stream) { return static_cast<cudaStream_t>(stream); }

void release(void* memory) {
  cudaFree(memory);  // nobody could do anything about its failure
}

}  // namespace

std::vector<Cuda::Description> Cuda::devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // no driver: that is no error here
    return {};
  }
  std::vector<Description> all;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
    all.push_back({index, properties.name, properties.major, properties.minor, properties.totalGlobalMem});
  }
  return all;
}

Cuda::Cuda(int index) {
  const std::vector<Description> all = devices();
  if (all.empty()) throw base::UsageError("there is no NVIDIA GPU here that this process can use; choose the device cpu");
  if (index < 0 || index >= static_cast<int>(all.size()))
    throw base::UsageError("there is no GPU " + std::to_string(index) + "; this process sees " + std::to_string(all.size()) +
                           ", counted from 0");
  description_ = all[static_cast<std::size_t>(index)];
  if (description_.major < kLeastMajor)
    throw base::UsageError("GPU " + std::to_string(index) + " (" + description_.name + ") has compute capability " +
                           std::to_string(description_.major) + "." + std::to_string(description_.minor) +
                           "; 8.0 or later is needed");
  use();
  check(cudaDeviceGetAttribute(&processors_, cudaDevAttrMultiProcessorCount, index), "cudaDeviceGetAttribute");
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  stream_ = stream;
  scratch_ = allocate(kScratchBytes);
}

Cuda::~Cuda() {
  kept_.reset();
  if (stream_) cudaStreamDestroy(native(stream_));
}

void Cuda::use() const { check(cudaSetDevice(description_.index), "cudaSetDevice"); }

Buffer Cuda::allocate(std::size_t bytes) const {
  if (bytes == 0) return {};
  use();
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw std::bad_alloc();
  }
  check(status, "cudaMalloc");
  Buffer buffer(memory, bytes, release);
  check(cudaMemsetAsync(memory, 0, bytes, native(stream_)), "cudaMemsetAsync");
  return buffer;
}

void Cuda::to_device(void* to, const void* host, std::size_t bytes) const {
  if (bytes == 0) return;
  use();
  check(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, native(stream_)), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(native(stream_)), "cudaStreamSynchronize");
}

void Cuda::to_host(void* host, const void* from, std::size_t bytes) const {
  if (bytes == 0) return;
  use();
  check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, native(stream_)), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(native(stream_)), "cudaStreamSynchronize");
}

void Cuda::copy_in(Bf16* to, const float* host, std::int64_t count) const {
  std::vector<Bf16> narrow(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < narrow.size(); ++i) narrow[i] = rounded(host[i]);
  to_device(to, narrow.data(), bytes<Bf16>(count));
}

void Cuda::copy_out(float* host, const Bf16* from, std::int64_t count) const {
  std::vector<Bf16> narrow(static_cast<std::size_t>(count));
  to_host(narrow.data(), from, bytes<Bf16>(count));
  for (std::size_t i = 0; i < narrow.size(); ++i) host[i] = widened(narrow[i]);
}

void Cuda::copy(Bf16* to, const Bf16* from, std::int64_t count) const {
  use();
  check(cudaMemcpyAsync(to, from, bytes<Bf16>(count), cudaMemcpyDeviceToDevice, native(stream_)), "cudaMemcpyAsync");
}

void Cuda::copy(float* to, const float* from, std::int64_t count) const {
  use();
  check(cudaMemcpyAsync(to, from, bytes<float>(count), cudaMemcpyDeviceToDevice, native(stream_)), "cudaMemcpyAsync");
}

void Cuda::zero(Bf16* at, std::int64_t count) const {
  use();
  check(cudaMemsetAsync(at, 0, bytes<Bf16>(count), native(stream_)), "cudaMemsetAsync");
}

void Cuda::zero(float* at, std::int64_t count) const {
  use();
  check(cudaMemsetAsync(at, 0, bytes<float>(count), native(stream_)), "cudaMemsetAsync");
}

}  // namespace finetuned::tensor
