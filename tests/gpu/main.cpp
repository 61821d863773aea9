// What tests/gpu/run calls: proofs and speeds on a GPU, by a program that needs nothing but CUDA's libraries and glibc.

#include <cstdio>
#include <exception>
#include <string>

#include "base/errors.h"
#include "tests/gpu/run_steps.h"

namespace {

constexpr const char* kUsage = R"(finetuned_gpu COMMAND: what tests/gpu/run calls. Prints lines of JSON.
  device [--gpu N] [--quick]                     the GPU, and its rate in a bfloat16 matrix product
  cases [--gpu N] [--large] [--only TEXT] [--skip N]
                                           every kernel beside its twin on the processor; status 3 where a call of CUDA failed, behind
                                           which nothing is run: another process goes on with --skip
  trajectory [--model tiny|small] [--device cpu|cuda] [--steps N] [--rows N] [--tokens N] [--dropout] [--recompute] [--no-graphs]
             [--state FILE --save-at N] [--from FILE]
                                           losses of a run and a hash of its end; saves its state, or goes on from one
  speed --model NAME [--tokens N] [--batch N] [--steps N] [--rank N] [--micro-batch-tokens N] [--recompute]
                                           tokens/s of LoRA steps on random weights
)";

int run(int count, char** words) {
  using namespace finetuned::gpu_proof;
  const std::string command = count > 1 ? words[1] : "";
  const Options options(std::span(words, static_cast<std::size_t>(count)).subspan(count > 1 ? 2 : 1));
  if (command == "device") return run_device(options);
  if (command == "cases") return run_cases(options);
  if (command == "trajectory") return run_trajectory(options);
  if (command == "speed") return run_speed(options);
  if (command == "--help") return std::fputs(kUsage, stdout), 0;
  throw WrongUse("there is no command '" + command + "' (see --help)");
}

}  // namespace

int main(int count, char** words) {
  try {
    return run(count, words);
  } catch (const finetuned::gpu_proof::WrongUse& error) {
    std::fprintf(stderr, "finetuned_gpu: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "finetuned_gpu: %s\n", error.what());
    return 1;
  }
}
