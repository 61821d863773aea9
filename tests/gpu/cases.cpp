#include <chrono>
#include <cstdio>

#include "tests/gpu/run_steps.h"
#include "tests/kernel_cases/cases.h"
#include "trainer/training/speed.h"

namespace finetuned::gpu_proof {

namespace {

using kernel_cases::Case;
using kernel_cases::Check;

std::string in_quotes(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return out + "\"";
}

enum class Verdict { kHolds, kDoesNot, kGpuUnusable };
constexpr int kGpuUnusable = 3;  // exit status

/// Its name before it is run: one that ends the process is known by it.
Verdict tell(const tensor::Cuda& cuda, const Case& one) {
  std::printf("{\"begins\": %s}\n", in_quotes(one.name).c_str());
  std::fflush(stdout);
  const auto start = std::chrono::steady_clock::now();
  Check check;
  std::string fault;
  bool usable = true;
  try {
    one.run(cuda, check);
    cuda.finish();
    if (!check.faults().empty()) fault = check.faults().front();
  } catch (const tensor::CudaFailed& error) {
    fault = error.what();
    usable = false;
  } catch (const std::exception& error) {
    fault = error.what();
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  std::printf("{\"case\": %s, \"passed\": %s, \"compared\": %lld, \"worst\": %s, \"seconds\": %.3f, \"fault\": %s}\n",
              in_quotes(one.name).c_str(), fault.empty() ? "true" : "false", static_cast<long long>(check.compared()), number(check.worst(), "%.4g").c_str(),
              taken.count(), in_quotes(fault).c_str());
  std::fflush(stdout);
  if (!usable) return Verdict::kGpuUnusable;
  return fault.empty() ? Verdict::kHolds : Verdict::kDoesNot;
}

}  // namespace

int run_device(const Options& options) {
  options.allow({"--gpu"}, {"--quick"});
  const tensor::Cuda cuda(static_cast<int>(options.integer("--gpu", 0)));
  const auto& gpu = cuda.description();
  std::printf("{\"gpu\": %s, \"compute_capability\": \"%d.%d\", \"multiprocessors\": %d, \"memory_bytes\": %llu, "
              "\"built_by\": %s, \"gemm_tflops\": %.1f}\n",
              in_quotes(gpu.name).c_str(), gpu.major, gpu.minor, cuda.processors(), static_cast<unsigned long long>(gpu.memory_bytes),
              in_quotes(tensor::Cuda::build()).c_str(), options.flag("--quick") ? 0.0 : training::gemm_gflops(cuda) / 1e3);
  return 0;
}

int run_cases(const Options& options) {
  options.allow({"--gpu", "--only", "--skip"}, {"--large"});
  const tensor::Cuda cuda(static_cast<int>(options.integer("--gpu", 0)));
  const std::string only = options.text("--only", "");
  const std::int64_t skipped = options.integer("--skip", 0);
  std::int64_t number_of = 0;
  bool passed = true;
  for (const Case& one : options.flag("--large") ? kernel_cases::large_cases() : kernel_cases::small_cases()) {
    if (one.name.find(only) == std::string::npos || number_of++ < skipped) continue;
    const Verdict verdict = tell(cuda, one);
    if (verdict == Verdict::kGpuUnusable) return kGpuUnusable;  // what came after it would say nothing of its own
    passed = passed && verdict == Verdict::kHolds;
  }
  std::printf("{\"cases\": %lld}\n", static_cast<long long>(number_of));
  return passed ? 0 : 1;
}

}  // namespace finetuned::gpu_proof
