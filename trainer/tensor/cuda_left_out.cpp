// tensor::Cuda where the build has no CUDA: there is no GPU then, so nothing but the constructor is reached.

#include <source_location>

#include "base/errors.h"
#include "base/expects.h"
#include "trainer/tensor/cuda_graph.h"

namespace finetuned::tensor {

namespace {

[[noreturn]] void left_out() {
  base::broken_invariant("a program without CUDA has no GPU", std::source_location::current());
}

}  // namespace

struct Cuda::Staging {};

const char* Cuda::build() {
  return "";
}
std::vector<Cuda::Description> Cuda::devices(std::string*) {
  return {};
}
std::string Cuda::missing_library() {
  return {};
}
std::string Cuda::library_version() {
  return {};
}
std::uint64_t Cuda::free_bytes_of(int) {
  return 0;
}

Cuda::Cuda(int) {
  throw base::UsageError("this program was built without CUDA; build it where nvcc 13 is, or choose the device cpu");
}
Cuda::~Cuda() = default;

void Cuda::use() const { left_out(); }
void Cuda::finish() const { left_out(); }
std::uint64_t Cuda::used_bytes() const { left_out(); }
std::uint64_t Cuda::free_bytes() const { left_out(); }
void* Cuda::scratch() const { left_out(); }
Buffer Cuda::allocate(std::size_t) const { left_out(); }
void Cuda::to_device(void*, const void*, std::size_t) const { left_out(); }
void Cuda::to_host(void*, const void*, std::size_t) const { left_out(); }
void Cuda::copy_in(Bf16*, const float*, std::int64_t) const { left_out(); }
void Cuda::copy_out(float*, const Bf16*, std::int64_t) const { left_out(); }
void Cuda::copy(Bf16*, const Bf16*, std::int64_t) const { left_out(); }
void Cuda::copy(float*, const float*, std::int64_t) const { left_out(); }
void Cuda::zero(Bf16*, std::int64_t) const { left_out(); }
void Cuda::zero(float*, std::int64_t) const { left_out(); }

CudaGraph::CudaGraph(const Cuda&, const std::function<void()>&) { left_out(); }
void CudaGraph::start(const Cuda&) const { left_out(); }

}  // namespace finetuned::tensor
