// Where a training step's time goes: a table of kernels with ms, GFLOP/s, GB/s and the share of the rate of
// the largest matrix product that this machine does, measured in the same run.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <string>
#include <system_error>
#include <vector>

#include "trainer/kernels/counter_rng.h"
#include "trainer/kernels/gemm.h"
#include "trainer/model/transformer.h"

namespace finetuned {

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Options {
  std::string size = "15m";
  std::int64_t rows = 0, length = 0, steps = 0, rank = 8;  // 0: as usual for what is measured
  bool decode = false;
  double supervised = 1;
  int threads = 0;
  tensor::Isa isa = tensor::best_isa();
};

[[noreturn]] void usage(int status) {
  std::fprintf(
      status == 0 ? stdout : stderr,
      "bench_step [--size 15m|110m] [--rows N] [--length N] [--steps N] [--rank N] [--threads N]\n"
      "           [--supervised SHARE] [--isa baseline|avx2|avx512]\n"
      "bench_step --decode [--size 15m|110m] [--rows N] [--length N] [--steps N] [--threads N] [--isa ...]\n"
      "Trains a random Llama of that size and prints, by kernel: calls, ms a step, share of the "
      "step, GFLOP/s,\n"
      "GB/s, and the share of this machine's SGEMM rate, measured in the same run. With --decode a step is "
      "a token of\n"
      "each of N sequences, behind a prompt of that length.\n");
  std::exit(status);
}

std::int64_t whole(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || end != text.data() + text.size() || value < 0 || value > 1'000'000) usage(2);
  return value;
}

double share(const std::string& text) {
  double value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || end != text.data() + text.size() || !(value > 0 && value <= 1)) usage(2);
  return value;
}

tensor::Isa isa_of(const std::string& name) {
  for (const auto isa : {tensor::Isa::kBaseline, tensor::Isa::kAvx2, tensor::Isa::kAvx512})
    if (name == tensor::isa_name(isa)) return isa;
  usage(2);
}

Options parse(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--help") usage(0);
    if (word == "--decode") {
      options.decode = true;
      continue;
    }
    if (i + 1 == count) usage(2);
    const std::string value = words[++i];
    if (word == "--size")
      options.size = value;
    else if (word == "--rows")
      options.rows = whole(value);
    else if (word == "--length")
      options.length = whole(value);
    else if (word == "--steps")
      options.steps = whole(value);
    else if (word == "--rank")
      options.rank = whole(value);
    else if (word == "--threads")
      options.threads = static_cast<int>(whole(value));
    else if (word == "--supervised")
      options.supervised = share(value);
    else if (word == "--isa")
      options.isa = isa_of(value);
    else
      usage(2);
  }
  if (options.rows == 0) options.rows = options.decode ? 1 : 4;
  if (options.length == 0) options.length = options.decode ? 8 : 256;
  if (options.steps == 0) options.steps = options.decode ? 64 : 8;
  if ((options.size != "15m" && options.size != "110m") || options.rows < 1 || options.length < 2 ||
      options.steps < 1 || options.rank < 1 || options.rank > 256 || options.threads > 1024)
    usage(2);
  return options;
}

formats::ModelConfig config_of(const Options& options) {
  const bool small = options.size == "15m";
  formats::ModelConfig config;
  config.architecture = formats::Architecture::kLlama;
  config.vocab_size = 32000;
  config.hidden_size = small ? 288 : 768;
  config.layers = small ? 6 : 12;
  config.heads = config.kv_heads = small ? 6 : 12;
  config.head_dim = config.hidden_size / config.heads;
  config.intermediate_size = small ? 768 : 2048;
  config.max_position_embeddings = std::max<std::int64_t>(1024, options.length);
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 10000;
  config.tie_word_embeddings = true;
  return config;
}

model::PackedBatch batch_of(const Options& options, std::uint64_t step) {
  model::PackedBatch batch;
  for (std::int64_t row = 0; row < options.rows; ++row) {
    text::TokenRow one;
    const std::uint64_t key = kernels::random_key(step, static_cast<std::uint64_t>(row));
    const auto first =
        static_cast<std::int64_t>(static_cast<double>(options.length) * (1 - options.supervised));
    for (std::int64_t i = 0; i < options.length; ++i) {
      const auto id =
          static_cast<std::int32_t>(kernels::random_bits(key, static_cast<std::uint64_t>(i)) % 32000);
      one.ids.push_back(id);
      one.labels.push_back(i >= first ? id : text::kIgnoreLabel);
    }
    batch.append(one, static_cast<std::uint64_t>(row));
  }
  return batch;
}

/// The engine's own large product, best of several, GFLOP/s.
double own_sgemm(const tensor::Cpu& cpu) {
  constexpr std::int64_t kSize = 1536;
  std::vector<float> a(kSize * kSize, 0.5f), b(kSize * kSize, 0.25f), c(kSize * kSize);
  kernels::Gemm<float> g;
  g.m = g.n = kSize;
  g.products[0] = {{a.data(), kSize, 1}, {b.data(), kSize, true}, kSize};
  g.c = c.data();
  g.c_stride = kSize;
  double best = 1e9;
  for (int i = 0; i < 12; ++i) {
    const double start = seconds_now();
    kernels::gemm(cpu, g);
    best = std::min(best, seconds_now() - start);
  }
  return 2.0 * kSize * kSize * kSize / best / 1e9;
}

/// OpenBLAS's, where it is installed; else 0.
double blas_sgemm(int threads) {
  void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library) return 0;
  using Sgemm =
      void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
  const auto sgemm = reinterpret_cast<Sgemm>(dlsym(library, "cblas_sgemm"));
  const auto set_threads = reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads"));
  if (!sgemm || !set_threads) return 0;
  set_threads(threads);
  constexpr int kSize = 1536;
  std::vector<float> a(kSize * kSize, 0.5f), b(kSize * kSize, 0.25f), c(kSize * kSize);
  double best = 1e9;
  for (int i = 0; i < 12; ++i) {
    const double start = seconds_now();
    sgemm(101, 111, 112, kSize, kSize, kSize, 1, a.data(), kSize, b.data(), kSize, 0, c.data(), kSize);
    best = std::min(best, seconds_now() - start);
  }
  return 2.0 * kSize * kSize * kSize / best / 1e9;
}

void print_table(const tensor::Profile& profile, const Options& options, double step_seconds, double sgemm) {
  auto lines = profile.lines();
  std::sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  const auto steps = static_cast<double>(options.steps);
  std::printf(
      "\n| kernel | calls | ms | of the step | GFLOP/s | GB/s | of SGEMM |\n|---|---|---|---|---|---|---|\n");
  double known = 0;
  for (const auto& line : lines) {
    known += line.seconds / steps;
    const double gflops = line.flops / line.seconds / 1e9;
    std::printf("| %.*s | %.0f | %.2f | %.1f%% | %.1f | %.1f | %.0f%% |\n",
                static_cast<int>(line.name.size()), line.name.data(), static_cast<double>(line.calls) / steps,
                line.seconds / steps * 1e3, 100 * line.seconds / steps / step_seconds, gflops,
                line.bytes / line.seconds / 1e9, 100 * gflops / sgemm);
  }
  std::printf("| between kernels | | %.2f | %.1f%% | | | |\n", (step_seconds - known) * 1e3,
              100 * (step_seconds - known) / step_seconds);
}

/// Seconds of each step, the first being a warm-up.
std::vector<double> train(const Options& options, const formats::ModelConfig& config, tensor::Cpu& cpu,
                          tensor::Profile& profile) {
  model::ModelSettings settings;
  settings.mode = model::Mode::kLora;
  settings.lora.rank = static_cast<int>(options.rank);
  settings.lora.target_modules.assign(std::begin(formats::kLinearModules), std::end(formats::kLinearModules));
  settings.max_tokens = options.rows * options.length;
  settings.max_rows = options.rows;
  model::Transformer<tensor::Cpu> network(cpu, config, model::fresh_weights(config, 1), settings);
  std::vector<double> seconds;
  for (std::int64_t step = 0; step <= options.steps; ++step) {
    const model::PackedBatch batch = batch_of(options, static_cast<std::uint64_t>(step));
    if (step == 1) cpu.set_profile(&profile);
    const double start = seconds_now();
    network.zero_gradients();
    network.accumulate_gradients(batch, 1.0 / static_cast<double>(batch.supervised()), step + 1);
    network.adamw_step({}, step + 1, std::min(1.0, 1 / network.gradient_norm()));
    if (step > 0) seconds.push_back(seconds_now() - start);
  }
  cpu.set_profile(nullptr);
  return seconds;
}

/// Likewise of each token behind the prompts.
std::vector<double> decode(const Options& options, const formats::ModelConfig& config, tensor::Cpu& cpu,
                           tensor::Profile& profile) {
  model::ModelSettings settings;
  settings.mode = model::Mode::kInference;
  settings.max_rows = options.rows;
  settings.max_tokens = options.rows * options.length;
  model::Transformer<tensor::Cpu> network(cpu, config, model::fresh_weights(config, 1), settings);
  model::KvCache<tensor::Cpu> cache(cpu, config, options.rows, options.length + options.steps + 1);
  const std::vector<std::int32_t> prompt(static_cast<std::size_t>(options.length), 7);
  std::vector<float> logits(static_cast<std::size_t>(options.rows * config.vocab_size));
  std::vector<double> seconds;
  for (std::int64_t step = -1; step <= options.steps; ++step) {
    std::vector<model::Continuation> next;
    for (std::int64_t row = 0; row < options.rows; ++row)
      next.push_back({row, step < 0 ? std::span(prompt) : std::span(prompt).first(1)});
    if (step == 1) cpu.set_profile(&profile);
    const double start = seconds_now();
    network.extend(next, cache, logits);
    if (step > 0) seconds.push_back(seconds_now() - start);
  }
  cpu.set_profile(nullptr);
  return seconds;
}

int run(const Options& options) {
  tensor::Cpu cpu(options.threads, options.isa);
  const formats::ModelConfig config = config_of(options);
  const double own = own_sgemm(cpu), blas = blas_sgemm(cpu.pool().threads()), sgemm = std::max(own, blas);
  tensor::Profile profile;
  std::vector<double> seconds =
      options.decode ? decode(options, config, cpu, profile) : train(options, config, cpu, profile);
  double mean = 0;
  for (const double one : seconds)
    mean += one / static_cast<double>(seconds.size());
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  const auto tokens = static_cast<double>(options.rows * (options.decode ? 1 : options.length));
  const double head = static_cast<double>(config.vocab_size * config.hidden_size);
  double linear = 0;
  for (const auto module : formats::kLinearModules) {
    const auto shape = *formats::linear_shape(config, module);
    linear += static_cast<double>(config.layers * shape.in * shape.out);
  }
  std::printf("%s, %s, %d threads: %.0f tokens a step, ", options.size.c_str(), tensor::isa_name(cpu.isa()),
              cpu.pool().threads(), tokens);
  if (options.decode)
    std::printf("one behind each of %lld sequences\n", static_cast<long long>(options.rows));
  else
    std::printf("in rows of %lld, rank %lld, %.0f%% supervised\n", static_cast<long long>(options.length),
                static_cast<long long>(options.rank), 100 * options.supervised);
  std::printf("SGEMM: the engine's %.0f GFLOP/s, OpenBLAS %.0f\n", own, blas);
  std::printf("step: %.1f ms (median), %.0f tokens/s, ", median * 1e3, tokens / median);
  const double useful = 4 * (linear + head * options.supervised) * tokens;
  if (options.decode)
    std::printf("the weights read at %.1f GB/s\n", 4 * (linear + head) / median / 1e9);
  else
    std::printf("4N FLOPs a token at %.0f GFLOP/s: %.0f%% of SGEMM\n", useful / median / 1e9,
                100 * useful / median / 1e9 / sgemm);
  print_table(profile, options, mean, sgemm);
  return 0;
}

}  // namespace

}  // namespace finetuned

int main(int count, char** words) {
  return finetuned::run(finetuned::parse(count, words));
}
