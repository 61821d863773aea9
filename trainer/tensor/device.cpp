#include "trainer/tensor/device.h"

#include <algorithm>

#include "base/machine.h"

namespace finetuned::tensor {

Isa best_isa() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::kBaseline;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  return avx512 ? Isa::kAvx512 : Isa::kAvx2;
#else
  return Isa::kBaseline;
#endif
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    default:
      return "baseline";
  }
}

namespace {
int thread_count(int asked) {
  return asked > 0 ? asked : base::machine_cores();
}
}  // namespace

std::size_t Cpu::scratch_bytes(int threads) {
  return kSharedBytes + kScratchBytes * static_cast<std::size_t>(thread_count(threads));
}

std::uint64_t Cpu::free_bytes() const {
  return base::run_memory_bytes();
}

Cpu::Cpu(int threads, Isa isa)
    : pool_(thread_count(threads)),
      isa_(std::min(isa, best_isa())),
      scratch_(kScratchBytes * static_cast<std::size_t>(pool_.threads())),
      shared_(kSharedBytes) {}

}  // namespace finetuned::tensor
