// tensor::Cuda on the emulator: its memory is the emulator's, and all work is done when a call returns.

#include <chrono>
#include <cstring>
#include <unistd.h>

#include "base/expects.h"
#include "tests/cuda_emulator/emulator.h"
#include "trainer/tensor/gpu_timer.h"

namespace finetuned::tensor {

struct Cuda::Staging {};

const char* Cuda::build() { return "emulated"; }
namespace {
constexpr std::uint64_t kMemoryBytes = std::uint64_t{4} << 30;
bool one_for_all = false;
std::vector<std::string> names{"emulated"};
std::string library = "the emulator's own";
}  // namespace

std::vector<Cuda::Description> Cuda::devices(std::string*) {
  const int process = one_for_all ? 0 : getpid();
  std::array<std::uint8_t, 16> uuid{};
  std::memcpy(uuid.data(), &process, sizeof process);
  std::vector<Description> all;
  for (const std::string& name : names) {
    all.push_back({static_cast<int>(all.size()), name, 9, 0, kMemoryBytes, uuid});
    ++uuid.back();
  }
  return all;
}
std::string Cuda::missing_library() { return {}; }
std::string Cuda::library_version() { return library; }
std::uint64_t Cuda::free_bytes_of(int) { return kMemoryBytes; }

Cuda::Cuda(int index) : description_(devices().at(static_cast<std::size_t>(index))), processors_(4) {}
Cuda::~Cuda() = default;
void Cuda::use() const {}
void Cuda::finish() const {}
std::uint64_t Cuda::used_bytes() const { return 0; }
std::uint64_t Cuda::free_bytes() const { return kMemoryBytes; }

void* Cuda::scratch() const {
  if (!scratch_.data()) scratch_ = allocate(kScratchBytes + kWorkspaceBytes);
  return scratch_.data();
}

Buffer Cuda::allocate(std::size_t bytes) const {
  return {cuda_emulator::allocate(bytes), bytes, cuda_emulator::release};
}

void Cuda::to_device(void* to, const void* host, std::size_t bytes) const {
  base::expects(!recording_, "no copy from the host is recorded");
  std::memcpy(to, host, bytes);
}
void Cuda::to_host(void* host, const void* from, std::size_t bytes) const {
  base::expects(!recording_, "no copy to the host is recorded");
  std::memcpy(host, from, bytes);
}

void Cuda::copy_in(Bf16* to, const float* host, std::int64_t count) const {
  base::expects(!recording_, "no copy from the host is recorded");
  for (std::int64_t i = 0; i < count; ++i) to[i] = rounded(host[i]);
}
void Cuda::copy_out(float* host, const Bf16* from, std::int64_t count) const {
  base::expects(!recording_, "no copy to the host is recorded");
  for (std::int64_t i = 0; i < count; ++i) host[i] = widened(from[i]);
}
void Cuda::copy(Bf16* to, const Bf16* from, std::int64_t count) const {
  cuda_emulator::start([=] { std::memcpy(to, from, bytes<Bf16>(count)); });
}
void Cuda::copy(float* to, const float* from, std::int64_t count) const {
  cuda_emulator::start([=] { std::memcpy(to, from, bytes<float>(count)); });
}
void Cuda::zero(Bf16* at, std::int64_t count) const {
  cuda_emulator::start([=] { std::memset(at, 0, bytes<Bf16>(count)); });
}
void Cuda::zero(float* at, std::int64_t count) const {
  cuda_emulator::start([=] { std::memset(at, 0, bytes<float>(count)); });
}

struct GpuTimer::Running {
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};
GpuTimer::GpuTimer(const Cuda& device, const char* name, double flops, double bytes)
    : device_(device), name_(name), flops_(flops), bytes_(bytes), running_(device.profile() ? new Running : nullptr) {}
GpuTimer::~GpuTimer() {
  if (!running_) return;
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - running_->start;
  device_.profile()->add(name_, taken.count(), flops_, bytes_);
}

}  // namespace finetuned::tensor

void finetuned::cuda_emulator::show_gpus(std::vector<std::string> named) { finetuned::tensor::names = std::move(named); }
void finetuned::cuda_emulator::show_library(std::string version) { finetuned::tensor::library = std::move(version); }
void finetuned::cuda_emulator::share_one_gpu(bool shared) { finetuned::tensor::one_for_all = shared; }
