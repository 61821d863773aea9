// Tokens a second of LoRA steps on random weights in a model's true shape.

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "tests/gpu/run_steps.h"
#include "trainer/training/plan.h"
#include "trainer/training/speed.h"

namespace finetuned::gpu_proof {

namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// A step's kernels, one by one, as JSON.
std::string told(const tensor::Profile& profile) {
  std::string lines;
  for (const auto& line : profile.lines())
    lines += std::string(lines.empty() ? "" : ", ") + "{\"kernel\": \"" + std::string(line.name) + "\", \"calls\": " + std::to_string(line.calls) +
             ", \"seconds\": " + number(line.seconds, "%.6f") + ", \"flops\": " + number(line.flops) + ", \"bytes\": " + number(line.bytes) + "}";
  return "[" + lines + "]";
}

}  // namespace

int run_speed(const Options& options) {
  options.allow({"--gpu", "--model", "--tokens", "--batch", "--steps", "--rank", "--micro-batch-tokens"}, {"--recompute"});
  const formats::ModelConfig config = config_of(options.text("--model", ""));
  const std::int64_t tokens = options.integer("--tokens", 2048), batch = options.integer("--batch", 16'384),
                     steps = std::max<std::int64_t>(1, options.integer("--steps", 8));
  const int gpu = static_cast<int>(options.integer("--gpu", 0));
  const auto rows = random_rows(std::max<std::int64_t>(1, batch / tokens), tokens, config.vocab_size);
  training::RunConfig run;
  run.device = {tensor::DeviceSpec::Kind::kCuda, gpu};
  run.lora_rank = static_cast<int>(options.integer("--rank", 16));
  run.lora_alpha = 32;
  run.batch_size = static_cast<int>(rows.size());
  run.recompute = options.flag("--recompute");
  run.micro_batch_tokens = options.integer("--micro-batch-tokens", 0);
  const training::Plan plan = training::make_plan(run, config, rows, {});

  tensor::Cuda cuda(gpu);
  const std::uint64_t before = cuda.used_bytes();
  model::Transformer<tensor::Cuda> model(cuda, config, quick_weights(), plan.settings);
  constexpr std::int64_t kWarmUp = 3;
  std::vector<double> seconds;
  double loss = 0;
  for (std::int64_t step = 1; step <= kWarmUp + steps; ++step) {
    const auto start = std::chrono::steady_clock::now();
    const kernels::LossSums sums = take_step(model, rows, step);
    cuda.finish();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    if (step > kWarmUp) seconds.push_back(taken.count());
    loss = sums.loss / static_cast<double>(sums.supervised);
  }
  const std::uint64_t bytes = cuda.used_bytes() - before;
  tensor::Profile profile;
  cuda.set_profile(&profile);
  take_step(model, rows, kWarmUp + steps + 1);
  cuda.set_profile(nullptr);
  const double typical = median(seconds), of_step = static_cast<double>(tokens) * static_cast<double>(rows.size());
  const double flops = training::step_flops(config, plan.settings, tokens * static_cast<std::int64_t>(rows.size()),
                                            (tokens - 1) * static_cast<std::int64_t>(rows.size()));
  std::printf("{\"model\": \"%s\", \"row_tokens\": %lld, \"batch_tokens\": %.0f, \"micro_batch_tokens\": %lld, \"recompute\": %s, "
              "\"steps\": %lld, \"seconds_a_step\": %.5f, \"fastest\": %.5f, \"slowest\": %.5f, \"tokens_per_second\": %.1f, "
              "\"tflops\": %.2f, \"memory_bytes\": %llu, \"last_loss\": %s, \"graphs_started\": %lld, \"profile\": %s}\n",
              options.text("--model", "").c_str(), static_cast<long long>(tokens), of_step,
              static_cast<long long>(plan.settings.max_tokens), plan.settings.recompute ? "true" : "false",
              static_cast<long long>(steps), typical, *std::min_element(seconds.begin(), seconds.end()),
              *std::max_element(seconds.begin(), seconds.end()), of_step / typical, flops / typical / 1e12,
              static_cast<unsigned long long>(bytes), number(loss).c_str(), static_cast<long long>(model.graph_starts()), told(profile).c_str());
  return 0;
}

}  // namespace finetuned::gpu_proof
