#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "trainer/tensor/buffer.h"
#include "trainer/tensor/profile.h"
#include "trainer/tensor/thread_pool.h"

namespace finetuned::tensor {

/// The instruction sets that the CPU kernels are built for, poorest first.
enum class Isa { kBaseline, kAvx2, kAvx512 };

Isa best_isa();                 ///< of this processor
const char* isa_name(Isa isa);  ///< `baseline`, `avx2`, `avx512`

/// A device says where numbers live and of which types they are; kernels are overloads on it, and the model
/// is a template over it. It offers: `Real`, of frozen weights and activations; `Wide`, of what is trained,
/// its gradients and moments, of statistics and logits, which may be the same; zeroed memory, copies in from and
/// out to the host, `zero`; `kHostMemory`, whether its memory is the host's; and whatever its kernels need.

/// The processor in single precision. Owns its threads and each thread's scratch. One caller at a time.
class Cpu {
 public:
  using Real = float;
  using Wide = float;
  static constexpr bool kHostMemory = true;
  static constexpr std::size_t kScratchBytes = std::size_t{2} << 20;  ///< a thread
  static constexpr std::size_t kSharedBytes = std::size_t{16}
                                              << 20;  ///< packed panels, shared by the threads

  /// `threads` 0: base::machine_cores(). `isa` is lowered to what the processor has.
  explicit Cpu(int threads = 0, Isa isa = best_isa());

  ThreadPool& pool() const { return pool_; }
  int threads() const { return pool_.threads(); }
  Isa isa() const { return isa_; }
  /// kScratchBytes, aligned; kernels overwrite it at will.
  template <class T = float>
  T* scratch(int thread) const {
    return reinterpret_cast<T*>(static_cast<std::byte*>(scratch_.data()) +
                                kScratchBytes * static_cast<std::size_t>(thread));
  }
  /// Where kernels write down their time; null: nowhere. `profile` outlives its use.
  void set_profile(Profile* profile) { profile_ = profile; }
  Profile* profile() const { return profile_; }
  float* shared() const { return static_cast<float*>(shared_.data()); }

  /// What a Cpu of so many threads, as its constructor takes them, takes for itself.
  static std::size_t scratch_bytes(int threads);
  std::size_t scratch_bytes() const { return scratch_bytes(pool_.threads()); }

  void finish() const {}             ///< all is done when a call returns
  std::uint64_t free_bytes() const;  ///< base::run_memory_bytes()
  /// Zeroed memory.
  Buffer allocate(std::size_t bytes) const { return Buffer(bytes); }
  void copy_in(float* to, const float* host, std::int64_t count) const { copy(to, host, count); }
  void copy_in(std::int32_t* to, const std::int32_t* host, std::int64_t count) const {
    copy(to, host, count);
  }
  void copy_in(std::uint64_t* to, const std::uint64_t* host, std::int64_t count) const {
    copy(to, host, count);
  }
  void copy_out(float* host, const float* from, std::int64_t count) const { copy(host, from, count); }
  /// To the host in the device's own precision.
  void read(float* host, const float* from, std::int64_t count) const { copy(host, from, count); }
  void copy(float* to, const float* from, std::int64_t count) const { copy<float>(to, from, count); }
  void zero(float* at, std::int64_t count) const {
    std::memset(at, 0, static_cast<std::size_t>(count) * sizeof(float));
  }

 private:
  template <class T>
  static void copy(T* to, const T* from, std::int64_t count) {
    if (count > 0) std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
  }

  mutable ThreadPool pool_;
  Isa isa_;
  Profile* profile_ = nullptr;
  Buffer scratch_;
  Buffer shared_;
};

/// The oracle: double precision, one thread, plain loops that follow the formulas. For proofs, never for
/// speed.
class Reference {
 public:
  using Real = double;
  using Wide = double;
  static constexpr bool kHostMemory = true;

  Buffer allocate(std::size_t bytes) const { return Buffer(bytes); }
  void copy_in(double* to, const float* host, std::int64_t count) const {
    for (std::int64_t i = 0; i < count; ++i)
      to[i] = host[i];
  }
  void copy_in(std::int32_t* to, const std::int32_t* host, std::int64_t count) const {
    for (std::int64_t i = 0; i < count; ++i)
      to[i] = host[i];
  }
  void copy_in(std::uint64_t* to, const std::uint64_t* host, std::int64_t count) const {
    for (std::int64_t i = 0; i < count; ++i)
      to[i] = host[i];
  }
  void copy_out(float* host, const double* from, std::int64_t count) const {
    for (std::int64_t i = 0; i < count; ++i)
      host[i] = static_cast<float>(from[i]);
  }
  void read(double* host, const double* from, std::int64_t count) const { copy(host, from, count); }
  std::size_t scratch_bytes() const { return 0; }
  void copy(double* to, const double* from, std::int64_t count) const {
    for (std::int64_t i = 0; i < count; ++i)
      to[i] = from[i];
  }
  void zero(double* at, std::int64_t count) const {
    for (std::int64_t i = 0; i < count; ++i)
      at[i] = 0;
  }
};

}  // namespace finetuned::tensor
