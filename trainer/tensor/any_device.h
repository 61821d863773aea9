#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/expects.h"
#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::tensor {

/// Which device.
struct DeviceSpec {
  enum class Kind { kCpu, kCuda };
  Kind kind = Kind::kCpu;
  int index = 0;  ///< of the GPUs that this process sees

  bool is_cuda() const { return kind == Kind::kCuda; }
  bool operator==(const DeviceSpec&) const = default;
};

/// `cpu`, `cuda:1`.
std::string device_name(const DeviceSpec& spec);

/// What decides the bits of a result, beside the build: `cpu-avx512`, `cuda-sm_90 NVIDIA H200`.
std::string device_class(const Cpu& device);
std::string device_class(const Cuda& device);
std::string device_class(const DeviceSpec& spec);  ///< of a GPU by Cuda::devices()

/// Its class, and of a GPU what its kernels were compiled by and which cuBLASLt multiplies here, which chooses its algorithms by
/// version: with the build, all that decides the bits of a result on this machine.
std::string device_engine(const DeviceSpec& spec);

/// Its class, and of a GPU which one it is and by which cuBLASLt: where two processes say the same, they mean one device, and
/// compute the same bits on it.
std::string device_identity(const DeviceSpec& spec);

struct DeviceChoice {
  DeviceSpec spec;
  std::string reason;  ///< why `auto` chose it, to be said to the user once; empty where the name decided
};

/// What `name` stands for on this machine: `cpu`; `cuda` or `cuda:N`, a GPU (the first, or the one numbered N from 0);
/// `auto`, the first GPU that can be used, or else the processor. Asks for GPUs in a child process (Cuda::devices()).
/// Throws UsageError for another name, and for a GPU that is not there, too old, or not for this build.
DeviceChoice choose_device(const std::string& name);

struct DevicesChoice {
  std::vector<DeviceSpec> specs;
  std::string reason;  ///< as DeviceChoice's
};

/// As choose_device(), and `cuda:N,M,...`: several GPUs, in this order. Throws UsageError for one that is named twice, and for
/// GPUs of more than one class: the same numbers would not come out of all.
DevicesChoice choose_devices(const std::string& name);

/// The engine's ways to compute, as this build has them and this machine can carry them out.
struct Backend {
  std::string name;    ///< `cpu`, `cuda`
  bool built = false;
  bool usable = false;
  std::string detail;  ///< what it has here, or why it cannot be used
};
std::vector<Backend> backends();

/// What of a device's memory a run may take: of the processor's base::run_memory_bytes(asked); of a GPU `asked`, or, where
/// that is 0, what is free now less a twentieth. Asks for GPUs in a child process.
std::uint64_t device_memory_bytes(const DeviceSpec& spec, std::uint64_t asked);

/// A device chosen at run time. Not movable: what lies on a device points to it.
class AnyDevice {
 public:
  /// `threads` as Cpu takes them. Throws as Cuda's constructor does.
  AnyDevice(const DeviceSpec& spec, int threads);
  AnyDevice(const AnyDevice&) = delete;
  AnyDevice& operator=(const AnyDevice&) = delete;

  const DeviceSpec& spec() const { return spec_; }

  /// work(Cpu&) or work(Cuda&).
  template <class Work>
  decltype(auto) visit(Work&& work) {
    if (spec_.is_cuda()) return work(std::get<Cuda>(device_));
    return work(std::get<Cpu>(device_));
  }

 private:
  DeviceSpec spec_;
  std::variant<std::monostate, Cpu, Cuda> device_;
};

/// work.template operator()<Cpu>() or <Cuda>().
template <class Work>
decltype(auto) with_class(const DeviceSpec& spec, Work&& work) {
  if (spec.is_cuda()) return std::forward<Work>(work).template operator()<Cuda>();
  return std::forward<Work>(work).template operator()<Cpu>();
}

/// A Thing<Cpu> or a Thing<Cuda>, or none.
template <template <class> class Thing>
using OnAnyDevice = std::variant<std::monostate, std::unique_ptr<Thing<Cpu>>, std::unique_ptr<Thing<Cuda>>>;

}  // namespace finetuned::tensor
