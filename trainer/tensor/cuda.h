#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "trainer/tensor/buffer.h"
#include "trainer/tensor/profile.h"

namespace finetuned::tensor {

/// A bfloat16 as it lies in memory: the upper half of a float.
struct Bf16 {
  std::uint16_t bits;
};

/// To the nearest, ties to even.
inline Bf16 rounded(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline float widened(Bf16 value) {
  return std::bit_cast<float>(std::uint32_t{value.bits} << 16);
}

/// A call of CUDA failed, which its message names. After most failures the process can do nothing more on the GPU.
struct CudaFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// An NVIDIA GPU of compute capability 8.0 or later: weights and activations in bfloat16; sums, statistics and
/// what is trained in single precision. All work is done in the order of the calls, on one stream of the
/// device's own; copies out wait for it. One caller at a time. Needs the driver when one is made and cuBLASLt
/// when the first product is due, not before. Whatever calls CUDA may throw CudaFailed.
class Cuda {
 public:
  using Real = Bf16;
  using Wide = float;
  static constexpr bool kHostMemory = false;

  struct Description {
    int index = 0;
    std::string name;
    int major = 0, minor = 0;  ///< compute capability
    std::uint64_t memory_bytes = 0;
    std::array<std::uint8_t, 16> uuid{};
  };
  static constexpr int kLeastMajor = 8;
  /// Of so many free bytes those that may be taken: a twentieth is left for what libraries take by themselves.
  static std::uint64_t spared(std::uint64_t free_bytes) { return free_bytes - free_bytes / 20; }

  /// By what this program's GPU code was made, and for which GPUs; empty: it was built without.
  static const char* build();
  /// The GPUs that this process sees; none where there is no driver, or it fails, and then `why` becomes its message, if it has
  /// one. A process that has not made a Cuda yet asks by a child, so that it has not spoken to the driver and may still
  /// fork().
  static std::vector<Description> devices(std::string* why = nullptr);
  /// Why a library that every GPU needs cannot be loaded here; empty where it can.
  static std::string missing_library();
  /// The version of cuBLASLt that is loaded here: another may give a product other bits.
  static std::string library_version();
  /// What is free of a GPU's memory now, asked for likewise; 0 where the driver does not say.
  static std::uint64_t free_bytes_of(int index);

  /// Throws UsageError where this process sees no such GPU, or one that is too old.
  explicit Cuda(int index = 0);
  ~Cuda();
  Cuda(const Cuda&) = delete;
  Cuda& operator=(const Cuda&) = delete;

  const Description& description() const { return description_; }
  int processors() const { return processors_; }  ///< multiprocessors
  int threads() const { return 0; }               ///< of the host's: its kernels use none
  void* stream() const { return stream_; }        ///< a cudaStream_t
  void use() const;                               ///< makes it the calling thread's device
  void finish() const;                            ///< waits for all work
  std::uint64_t used_bytes() const;               ///< of the GPU's memory, whoever uses it
  std::uint64_t free_bytes() const;               ///< that may be taken: what is free, less a twentieth

  void set_profile(Profile* profile) { profile_ = profile; }
  Profile* profile() const { return profile_; }

  /// Zeroed memory of the GPU. Throws std::bad_alloc.
  Buffer allocate(std::size_t bytes) const;
  static constexpr std::size_t kScratchBytes = std::size_t{384} << 20;
  static constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
  /// kScratchBytes of the GPU, which kernels overwrite at will, each from its start; taken with what follows when it is first
  /// asked for.
  void* scratch() const;
  /// kWorkspaceBytes for matrix products, which a kernel may call while it uses the scratch.
  void* workspace() const { return static_cast<std::byte*>(scratch()) + kScratchBytes; }
  static std::size_t scratch_bytes(int /*threads*/) { return kScratchBytes + kWorkspaceBytes; }
  std::size_t scratch_bytes() const { return scratch_bytes(0); }

  /// While kernels are recorded (graphs.h) nothing goes between host and GPU.
  void set_recording(bool on) const { recording_ = on; }

  /// What the kernels keep for this device from one call to the next: theirs alone.
  std::shared_ptr<void>& kept_by_kernels() const { return kept_; }

  /// By two pinned buffers in turn: one is filled, by several threads where it is much, while the other is on its way. `host`
  /// may change when it returns.
  void to_device(void* to, const void* host, std::size_t bytes) const;
  void to_host(void* host, const void* from, std::size_t bytes) const;  ///< waits for all work before it
  void copy_in(Bf16* to, const float* host, std::int64_t count) const;  ///< rounds to the nearest, ties to even
  void copy_in(float* to, const float* host, std::int64_t count) const { to_device(to, host, bytes<float>(count)); }
  void copy_in(std::int32_t* to, const std::int32_t* host, std::int64_t count) const {
    to_device(to, host, bytes<std::int32_t>(count));
  }
  void copy_in(std::uint64_t* to, const std::uint64_t* host, std::int64_t count) const {
    to_device(to, host, bytes<std::uint64_t>(count));
  }
  void copy_out(float* host, const Bf16* from, std::int64_t count) const;
  void copy_out(float* host, const float* from, std::int64_t count) const { to_host(host, from, bytes<float>(count)); }
  void read(float* host, const float* from, std::int64_t count) const { copy_out(host, from, count); }
  void copy(Bf16* to, const Bf16* from, std::int64_t count) const;
  void copy(float* to, const float* from, std::int64_t count) const;
  void zero(Bf16* at, std::int64_t count) const;
  void zero(float* at, std::int64_t count) const;

 private:
  template <class T>
  static std::size_t bytes(std::int64_t count) {
    return static_cast<std::size_t>(count) * sizeof(T);
  }

  Description description_;
  int processors_ = 0;
  struct Staging;

  void* stream_ = nullptr;
  mutable Buffer scratch_;
  std::unique_ptr<Staging> staging_;
  mutable std::shared_ptr<void> kept_;
  mutable bool recording_ = false;
  Profile* profile_ = nullptr;
};

}  // namespace finetuned::tensor
