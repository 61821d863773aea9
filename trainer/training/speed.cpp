#include "trainer/training/speed.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <sys/resource.h>
#include <vector>

#include "base/expects.h"
#include "trainer/kernels/counter_rng.h"
#include "trainer/kernels/gemm.h"
#include "trainer/tensor/arena.h"

namespace finetuned::training {

namespace {

using std::chrono::steady_clock;

constexpr int kMostProducts = 200;
constexpr std::chrono::milliseconds kMeasured{50};

/// How far a module is from its layer's input: it needs the gradient of its own input only where an adapter
/// lies nearer to the input than it does, or in a layer below.
int depth_of(std::string_view module) {
  if (module == "o_proj") return 1;
  if (module == "gate_proj" || module == "up_proj") return 2;
  return module == "down_proj" ? 3 : 0;
}

double elements(const formats::LinearShape& shape) {
  return static_cast<double>(shape.in) * static_cast<double>(shape.out);
}

}  // namespace

template <class Device>
double gemm_gflops(const Device& device) {
  using Real = typename Device::Real;
  constexpr std::int64_t kSide = Device::kHostMemory ? 512 : 8192;
  tensor::Arena arena;
  Real *left = nullptr, *right = nullptr, *product = nullptr;
  for (Real** operand : {&left, &right, &product}) arena.reserve(*operand, "operands", kSide * kSide);
  arena.allocate(device);
  std::vector<float> drawn(kSide * kSide);  // a chip may run faster on numbers that are all alike
  for (std::size_t i = 0; i < drawn.size(); ++i)
    drawn[i] = static_cast<float>(kernels::random_bits(1, i) >> 40) / static_cast<float>(1 << 24) - 0.5f;
  device.copy_in(left, drawn.data(), kSide * kSide);
  device.copy_in(right, drawn.data(), kSide * kSide);
  kernels::Gemm<Real> gemm;
  gemm.m = gemm.n = kSide;
  gemm.products[0] = {{left, kSide, 1}, {right, kSide, true}, kSide};
  gemm.c = product;
  gemm.c_stride = kSide;
  double best_seconds = 0;
  device.finish();
  const steady_clock::time_point begin = steady_clock::now();
  for (int done = 0; done < kMostProducts; ++done) {
    const steady_clock::time_point start = steady_clock::now();
    kernels::gemm(device, gemm);
    device.finish();
    const double seconds = std::chrono::duration<double>(steady_clock::now() - start).count();
    if (done > 0 && (done == 1 || seconds < best_seconds)) best_seconds = seconds;  // the first one warms up
    if (done > 0 && steady_clock::now() - begin >= kMeasured) break;
  }
  base::expects(best_seconds > 0, "a matrix product takes time");
  return 2e-9 * static_cast<double>(kSide * kSide * kSide) / best_seconds;
}

template double gemm_gflops(const tensor::Cpu&);
template double gemm_gflops(const tensor::Cuda&);

double step_flops(const formats::ModelConfig& config, const model::ModelSettings& settings,
                  std::int64_t tokens, std::int64_t supervised) {
  const bool full = settings.mode == model::Mode::kFull;
  const auto& adapted = settings.lora.target_modules;
  int lowest = 4;  // depth of the first layer's lowest adapter
  for (const std::string& module : adapted)
    lowest = std::min(lowest, depth_of(module));
  const auto every = static_cast<double>(tokens), tail = static_cast<double>(supervised);
  double flops = (full ? 6 : 4) * static_cast<double>(config.vocab_size * config.hidden_size) * tail;
  for (const std::string_view module : formats::kLinearModules) {
    const formats::LinearShape shape = *formats::linear_shape(config, module);
    const double last = module == "k_proj" || module == "v_proj" ? every : tail;
    const double rows = static_cast<double>(config.layers - 1) * every + last;
    flops += (full ? 6 : 4) * elements(shape) * rows;
    if (full) continue;
    if (depth_of(module) <= lowest) flops -= 2 * elements(shape) * (config.layers > 1 ? every : last);
    if (std::find(adapted.begin(), adapted.end(), module) != adapted.end())
      flops += 6 * static_cast<double>(settings.lora.rank * (shape.in + shape.out)) * rows;
  }
  return flops;
}

std::uint64_t peak_memory_bytes() {
  struct rusage usage {};
  base::expects(getrusage(RUSAGE_SELF, &usage) == 0, "a process may ask for its own usage");
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace finetuned::training
