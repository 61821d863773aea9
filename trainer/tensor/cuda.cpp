#include "trainer/tensor/cuda.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <new>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/errors.h"
#include "base/expects.h"
#include "base/machine.h"
#include "trainer/tensor/thread_pool.h"

namespace finetuned::tensor {

namespace {

constexpr std::size_t kStagingBytes = std::size_t{8} << 20;  // each of the two buffers
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;    // that a thread copies at once
constexpr int kCopyThreads = 4;
constexpr int kMostGpus = 64;
constexpr int kAnswerMilliseconds = 60'000;  // that a driver may take to start

void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throw CudaFailed(std::string(call) + ": " + cudaGetErrorString(status));
}

cudaStream_t native(void* stream) { return static_cast<cudaStream_t>(stream); }

/// On the memory's own device: another one's would be made where there is none. Nobody could do anything about a failure.
void release(void* memory) {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, memory) == cudaSuccess) cudaSetDevice(attributes.device);
  cudaFree(memory);
}

constexpr const char* kProducts = "libcublasLt.so.13";

/// Whether this process has spoken to the driver: its children then cannot.
std::atomic<bool> spoke{false};

/// What is asked: of every GPU what it is, or of one how much of its memory is free.
struct Question {
  int free_of = -1;
};
struct Answer {
  struct Gpu {
    char name[256];
    int major, minor;
    std::uint64_t memory_bytes;
    std::array<std::uint8_t, 16> uuid;
  };
  Gpu gpus[kMostGpus]{};
  int count = 0;
  std::uint64_t free_bytes = 0;
  char error[256] = {};
};

void answer(const Question& question, Answer& to) {
  const auto failed = [&to](cudaError_t status) {
    if (status == cudaSuccess) return false;
    std::snprintf(to.error, sizeof to.error, "%s", cudaGetErrorString(status));
    cudaGetLastError();
    return true;
  };
  int count = 0;
  if (failed(cudaGetDeviceCount(&count))) return;
  if (question.free_of >= 0) {
    std::size_t free = 0, total = 0;
    if (!failed(cudaSetDevice(question.free_of)) && !failed(cudaMemGetInfo(&free, &total))) to.free_bytes = free;
    return;
  }
  to.count = std::min(count, kMostGpus);
  for (int index = 0; index < to.count; ++index) {
    cudaDeviceProp properties{};
    if (failed(cudaGetDeviceProperties(&properties, index))) continue;  // of no compute capability: nobody takes it
    Answer::Gpu& gpu = to.gpus[index];
    std::memcpy(gpu.name, properties.name, sizeof gpu.name - 1);  // both have 256 bytes
    gpu.major = properties.major, gpu.minor = properties.minor;
    gpu.memory_bytes = properties.totalGlobalMem;
    std::memcpy(gpu.uuid.data(), properties.uuid.bytes, gpu.uuid.size());
  }
}

/// What comes from `in` before it is closed, for as long as a driver may take; false where that is not all.
bool hear(int in, Answer& told) {
  std::size_t have = 0;
  for (pollfd ready{in, POLLIN, 0}; have < sizeof told;) {
    const int found = poll(&ready, 1, kAnswerMilliseconds);
    if (found < 0 && errno == EINTR) continue;
    if (found <= 0) return false;
    const ssize_t got = read(in, reinterpret_cast<char*>(&told) + have, sizeof told - have);
    if (got <= 0) return false;
    have += static_cast<std::size_t>(got);
  }
  return true;
}

bool has_driver() {
  void* const driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver) dlclose(driver);
  return driver != nullptr;
}

bool ask_a_child(const Question& question, Answer& told) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  const pid_t parent = getpid(), child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a driver may hang
    if (getppid() != parent) _exit(1);
    dup2(STDERR_FILENO, STDOUT_FILENO);  // what a driver prints is no result
    if (has_driver()) answer(question, told);
    for (std::size_t done = 0; done < sizeof told;) {
      const ssize_t wrote = write(ends[1], reinterpret_cast<const char*>(&told) + done, sizeof told - done);
      if (wrote <= 0) break;
      done += static_cast<std::size_t>(wrote);
    }
    _exit(0);
  }
  close(ends[1]);
  const bool heard = child > 0 && hear(ends[0], told);
  close(ends[0]);
  if (child > 0) {
    kill(child, SIGKILL);
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  }
  return heard;
}

Answer ask(const Question& question) {
  Answer told;
  if (spoke) {
    answer(question, told);
  } else if (!ask_a_child(question, told)) {
    told = {};
    std::snprintf(told.error, sizeof told.error, "the driver does not answer");
  }
  return told;
}

}  // namespace

/// Two pinned buffers, filled in turn. One is taken again when the copies out of it are done.
struct Cuda::Staging {
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

  /// work(begin, end) for pieces of [0, bytes), by several threads where there is more than one.
  template <class Work>
  void in_pieces(std::size_t bytes, const Work& work) {
    if (bytes <= kPieceBytes) return work(std::size_t{0}, bytes);
    if (!threads) threads = std::make_unique<ThreadPool>(std::min(kCopyThreads, base::machine_cores()));
    threads->run(static_cast<std::int64_t>((bytes + kPieceBytes - 1) / kPieceBytes), [&](std::int64_t piece, int) {
      const std::size_t begin = static_cast<std::size_t>(piece) * kPieceBytes;
      work(begin, std::min(bytes, begin + kPieceBytes));
    });
  }

  struct Half {
    Half() {
      check(cudaEventCreateWithFlags(&copied, cudaEventDisableTiming), "cudaEventCreateWithFlags");
      const cudaError_t status = cudaHostAlloc(&memory, kStagingBytes, cudaHostAllocDefault);
      if (status != cudaSuccess) cudaEventDestroy(copied);
      check(status, "cudaHostAlloc");
    }
    ~Half() {
      cudaFreeHost(memory);
      cudaEventDestroy(copied);
    }
    Half(const Half&) = delete;
    Half& operator=(const Half&) = delete;

    void* memory = nullptr;
    cudaEvent_t copied = nullptr;
  };
  Half halves[2];
  int at = 0;
  std::size_t used = 0;  // of the half at hand
  std::unique_ptr<ThreadPool> threads;
};

const char* Cuda::build() { return FINETUNED_CUDA_BUILD; }

std::vector<Cuda::Description> Cuda::devices(std::string* why) {
  const Answer told = ask({});
  if (why) *why = told.error;
  std::vector<Description> all;
  for (int index = 0; index < told.count; ++index) {
    const Answer::Gpu& gpu = told.gpus[index];
    all.push_back({index, gpu.name, gpu.major, gpu.minor, gpu.memory_bytes, gpu.uuid});
  }
  return all;
}

std::string Cuda::missing_library() {
  if (dlopen(kProducts, RTLD_LAZY | RTLD_LOCAL)) return {};  // it stays: it is needed
  return dlerror();
}

std::string Cuda::library_version() {
  void* const library = dlopen(kProducts, RTLD_LAZY | RTLD_LOCAL);
  auto* const version = library ? reinterpret_cast<std::size_t (*)()>(dlsym(library, "cublasLtGetVersion")) : nullptr;
  return "cublasLt " + (version ? std::to_string(version()) : std::string("of no known version"));
}

std::uint64_t Cuda::free_bytes_of(int index) { return ask({.free_of = index}).free_bytes; }

Cuda::Cuda(int index) {
  spoke = true;
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
                  .memory_bytes = properties.totalGlobalMem,
                  .uuid = {}};
  std::memcpy(description_.uuid.data(), properties.uuid.bytes, description_.uuid.size());
  if (description_.major < kLeastMajor) throw base::UsageError("GPU " + std::to_string(index) + " is too old");
  processors_ = properties.multiProcessorCount;
  use();
  staging_ = std::make_unique<Staging>();
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  stream_ = stream;
}

Cuda::~Cuda() {
  cudaSetDevice(description_.index);
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

std::uint64_t Cuda::free_bytes() const {
  use();
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return spared(free);
}

void* Cuda::scratch() const {
  if (!scratch_.data()) scratch_ = allocate(kScratchBytes + kWorkspaceBytes);
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
  base::expects(!recording_, "no copy from the host is recorded");
  use();
  for (std::size_t done = 0, room = 0; done < bytes; done += room) {
    void* const place = staging_->take(bytes - done, room, native(stream_));
    staging_->in_pieces(room, [&](std::size_t begin, std::size_t end) {
      std::memcpy(static_cast<char*>(place) + begin, static_cast<const char*>(host) + done + begin, end - begin);
    });
    check(cudaMemcpyAsync(static_cast<char*>(to) + done, place, room, cudaMemcpyHostToDevice, native(stream_)), "cudaMemcpyAsync");
  }
}

void Cuda::to_host(void* host, const void* from, std::size_t bytes) const {
  base::expects(!recording_, "no copy to the host is recorded");
  if (bytes == 0) return;
  use();
  check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, native(stream_)), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(native(stream_)), "cudaStreamSynchronize");
}

void Cuda::copy_in(Bf16* to, const float* host, std::int64_t count) const {
  base::expects(!recording_, "no copy from the host is recorded");
  use();
  const std::size_t all = bytes<Bf16>(count);
  for (std::size_t done = 0, room = 0; done < all; done += room) {
    auto* const place = static_cast<Bf16*>(staging_->take(all - done, room, native(stream_)));
    const float* const from = host + done / sizeof(Bf16);
    staging_->in_pieces(room, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin / sizeof(Bf16); i < end / sizeof(Bf16); ++i) place[i] = rounded(from[i]);
    });
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
