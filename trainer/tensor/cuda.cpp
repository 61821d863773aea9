#include "trainer/tensor/cuda.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <new>
#include <poll.h>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

#include "base/errors.h"

namespace finetuned::tensor {

namespace {

constexpr std::size_t kStagingBytes = std::size_t{8} << 20;  // each of the two buffers
constexpr int kMostGpus = 64;
constexpr int kAnswerMilliseconds = 60'000;  // that a driver may take to start

void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(call) + ": " + cudaGetErrorString(status));
}

cudaStream_t native(void* stream) { return static_cast<cudaStream_t>(stream); }

void release(void* memory) {
  cudaFree(memory);  // nobody could do anything about its failure
}

/// A GPU as the child tells of it.
struct Told {
  char name[256];
  int major, minor;
  std::uint64_t memory_bytes, free_bytes;
};

/// The child's part: writes a Told for each GPU to `out`.
void tell_devices(int out) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return;
  for (int index = 0; index < std::min(count, kMostGpus); ++index) {
    cudaDeviceProp properties{};
    std::size_t free = 0, total = 0;
    if (cudaGetDeviceProperties(&properties, index) != cudaSuccess || cudaSetDevice(index) != cudaSuccess ||
        cudaMemGetInfo(&free, &total) != cudaSuccess)
      return;
    Told told{};
    std::memcpy(told.name, properties.name, sizeof told.name - 1);  // both have 256 bytes
    told.major = properties.major, told.minor = properties.minor;
    told.memory_bytes = total, told.free_bytes = free;
    if (write(out, &told, sizeof told) != static_cast<ssize_t>(sizeof told)) return;
  }
}

/// What comes from `in` before it is closed, for as long as a driver may take.
std::vector<Told> hear_devices(int in) {
  std::vector<Told> all;
  Told told{};
  std::size_t have = 0;
  for (pollfd ready{in, POLLIN, 0}; all.size() < kMostGpus;) {
    const int found = poll(&ready, 1, kAnswerMilliseconds);
    if (found < 0 && errno == EINTR) continue;
    if (found <= 0) break;
    const ssize_t got = read(in, reinterpret_cast<char*>(&told) + have, sizeof told - have);
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
    if (have < sizeof told) continue;
    all.push_back(told);
    have = 0;
  }
  return all;
}

bool has_driver() {
  void* const driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver) dlclose(driver);
  return driver != nullptr;
}

}  // namespace

/// Two pinned buffers, filled in turn. One is taken again when the copies out of it are done.
struct Cuda::Staging {
  Staging() {
    for (Half& half : halves) {
      check(cudaHostAlloc(&half.memory, kStagingBytes, cudaHostAllocDefault), "cudaHostAlloc");
      check(cudaEventCreateWithFlags(&half.copied, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    }
  }
  ~Staging() {
    for (Half& half : halves) {
      if (half.copied) cudaEventDestroy(half.copied);
      if (half.memory) cudaFreeHost(half.memory);
    }
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// Room for up to `wanted` bytes, aligned to 64; how many there are, stands in `room`.
  void* take(std::size_t wanted, std::size_t& room, cudaStream_t stream) {
    if (used == kStagingBytes) {
      check(cudaEventRecord(halves[at].copied, stream), "cudaEventRecord");
      at = 1 - at;
      used = 0;
      check(cudaEventSynchronize(halves[at].copied), "cudaEventSynchronize");  // none recorded yet: no wait
    }
    void* const place = static_cast<char*>(halves[at].memory) + used;
    room = std::min(wanted, kStagingBytes - used);
    used += (room + 63) / 64 * 64;
    return place;
  }

  struct Half {
    void* memory = nullptr;
    cudaEvent_t copied = nullptr;
  };
  Half halves[2];
  int at = 0;
  std::size_t used = 0;  // of the half at hand
};

const char* Cuda::build() { return FINETUNED_CUDA_BUILD; }

std::vector<Cuda::Description> Cuda::devices() {
  int ends[2];
  if (!has_driver() || pipe(ends) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    tell_devices(ends[1]);
    _exit(0);
  }
  close(ends[1]);
  const std::vector<Told> told = child > 0 ? hear_devices(ends[0]) : std::vector<Told>();
  close(ends[0]);
  if (child > 0) {
    kill(child, SIGKILL);
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  }
  std::vector<Description> all;
  for (const Told& one : told)
    all.push_back({static_cast<int>(all.size()), one.name, one.major, one.minor, one.memory_bytes, one.free_bytes});
  return all;
}

Cuda::Cuda(int index) {
  cudaDeviceProp properties{};
  int count = 0;
  check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  if (index < 0 || index >= count)
    throw base::UsageError("there is no GPU " + std::to_string(index) + ": this process sees " + std::to_string(count) +
                           ", counted from 0");
  check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  description_ = {.index = index,
                  .name = properties.name,
                  .major = properties.major,
                  .minor = properties.minor,
                  .memory_bytes = properties.totalGlobalMem};
  if (description_.major < kLeastMajor) throw base::UsageError("GPU " + std::to_string(index) + " is too old");
  processors_ = properties.multiProcessorCount;
  use();
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  stream_ = stream;
  staging_ = std::make_unique<Staging>();
}

Cuda::~Cuda() {
  if (stream_) cudaStreamSynchronize(native(stream_));  // nothing is taken away under work that goes on
  kept_.reset();
  staging_.reset();
  if (stream_) cudaStreamDestroy(native(stream_));
}

void Cuda::use() const { check(cudaSetDevice(description_.index), "cudaSetDevice"); }

void Cuda::finish() const {
  use();
  check(cudaStreamSynchronize(native(stream_)), "cudaStreamSynchronize");
}

std::uint64_t Cuda::used_bytes() const {
  use();
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return total - free;
}

std::uint64_t Cuda::free_bytes() const { return spared(description_.memory_bytes - used_bytes()); }

void* Cuda::scratch() const {
  if (!scratch_.data()) scratch_ = allocate(kScratchBytes);
  return scratch_.data();
}

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
  use();
  for (std::size_t done = 0, room = 0; done < bytes; done += room) {
    void* const place = staging_->take(bytes - done, room, native(stream_));
    std::memcpy(place, static_cast<const char*>(host) + done, room);
    check(cudaMemcpyAsync(static_cast<char*>(to) + done, place, room, cudaMemcpyHostToDevice, native(stream_)), "cudaMemcpyAsync");
  }
}

void Cuda::to_host(void* host, const void* from, std::size_t bytes) const {
  if (bytes == 0) return;
  use();
  check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, native(stream_)), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(native(stream_)), "cudaStreamSynchronize");
}

void Cuda::copy_in(Bf16* to, const float* host, std::int64_t count) const {
  use();
  const std::size_t all = bytes<Bf16>(count);
  for (std::size_t done = 0, room = 0; done < all; done += room) {
    auto* const place = static_cast<Bf16*>(staging_->take(all - done, room, native(stream_)));
    const float* const from = host + done / sizeof(Bf16);
    for (std::size_t i = 0; i < room / sizeof(Bf16); ++i) place[i] = rounded(from[i]);
    check(cudaMemcpyAsync(to + done / sizeof(Bf16), place, room, cudaMemcpyHostToDevice, native(stream_)), "cudaMemcpyAsync");
  }
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
